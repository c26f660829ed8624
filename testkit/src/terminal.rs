//! A terminal that a program prints to and reads from, and what stands on it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// See the module.
#[derive(Debug)]
pub struct Terminal {
    program: File,
    keyboard: File,
    printed: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

impl Terminal {
    /// A new one, which is nobody's controlling terminal.
    ///
    /// # Panics
    /// The kernel has none left.
    pub fn new() -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let no_ctty = rustix::fs::OFlags::NOCTTY.bits().cast_signed();
        let program = OpenOptions::new().read(true).write(true).custom_flags(no_ctty).open(path).unwrap();
        let printed = Arc::new(Mutex::new(Vec::new()));
        let (to, mut ours) = (Arc::clone(&printed), File::from(ours));
        let keyboard = ours.try_clone().unwrap();
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            // An error says that nobody has it open any more.
            while let Ok(n @ 1..) = ours.read(&mut buffer) {
                to.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        Self { program, keyboard, printed, reader }
    }

    /// For a program to print to, or to read from.
    ///
    /// # Panics
    /// It cannot be opened once more.
    pub fn stdio(&self) -> Stdio {
        self.program.try_clone().unwrap().into()
    }

    /// What somebody types, with the key that ends a line. It is printed, too.
    ///
    /// # Panics
    /// Nobody can read it any more.
    pub fn types(&self, text: &str) {
        (&self.keyboard).write_all(text.as_bytes()).unwrap();
    }

    /// All bytes that were printed so far.
    ///
    /// # Panics
    /// Reading it failed before.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&self.printed.lock().unwrap()).into_owned()
    }

    /// All bytes that were printed, once every program has ended.
    ///
    /// # Panics
    /// Reading it failed.
    pub fn close(self) -> String {
        drop(self.program);
        self.reader.join().unwrap();
        String::from_utf8_lossy(&self.printed.lock().unwrap()).into_owned()
    }
}

/// The lines that stand on a terminal where this was printed: after returns, and with what was erased gone. Colours are left out.
pub fn screen(printed: &str) -> Vec<String> {
    let (mut lines, mut line, mut column) = (Vec::new(), Vec::new(), 0);
    let mut characters = printed.chars();
    while let Some(c) = characters.next() {
        match c {
            '\r' => column = 0,
            '\n' => {
                lines.push(std::mem::take(&mut line));
                column = 0;
            }
            // Of the sequences only "erase to the end of the line" moves anything.
            '\x1b' => {
                let last = characters.by_ref().find(char::is_ascii_alphabetic);
                if last == Some('K') {
                    line.truncate(column);
                }
            }
            c => {
                if column < line.len() {
                    line[column] = c;
                } else {
                    line.push(c);
                }
                column += 1;
            }
        }
    }
    lines.push(line);
    lines.into_iter().map(|line| line.into_iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_erased_is_gone() {
        let printed = "\rlong progress\x1b[K\r\x1b[K\x1b[1;33mwarning:\x1b[0m x\r\n\rab\x1b[K\rA\r\n";
        assert_eq!(screen(printed), ["warning: x", "Ab", ""]);
    }
}
