//! What must be known of an executable before it ships: is it static, for which machine, what is linked into it.

use anyhow::{Context, Result, ensure};
use object::LittleEndian;
use object::elf::{FileHeader64, PT_DYNAMIC, PT_INTERP, SHT_SYMTAB};
use object::read::elf::{FileHeader as _, ProgramHeader as _, Sym as _};

/// The few facts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Elf {
    /// `e_machine`, for example 62 for x86_64.
    pub(crate) machine: u16,
    /// It asks for a loader of the node, and so for the node's libraries.
    pub(crate) needs_loader: bool,
    /// It sits at a fixed address and relocates nothing: what file(1) calls statically linked.
    pub(crate) is_static: bool,
    /// The names in its symbol table; empty once it is stripped.
    pub(crate) symbols: Vec<String>,
}

/// Reads a 64-bit little-endian ELF file.
pub(crate) fn parse_elf(bytes: &[u8]) -> Result<Elf> {
    ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "not a 64-bit little-endian ELF program");
    parse(bytes).ok().context("the file is cut short")
}

/// That it is damaged is all there is to say: where it is does not help.
fn parse(bytes: &[u8]) -> object::Result<Elf> {
    const LE: LittleEndian = LittleEndian;
    let header = FileHeader64::<LittleEndian>::parse(bytes)?;
    let has = |kind| -> object::Result<bool> {
        Ok(header.program_headers(LE, bytes)?.iter().any(|segment| segment.p_type(LE) == kind))
    };
    let table = header.sections(LE, bytes)?.symbols(LE, bytes, SHT_SYMTAB)?;
    let names = table.iter().map(|symbol| symbol.name(LE, table.strings()));
    let symbols = names.map(|name| Ok(String::from_utf8_lossy(name?).into_owned()));
    let needs_loader = has(PT_INTERP)?;
    Ok(Elf {
        machine: header.e_machine(LE).0,
        needs_loader,
        is_static: !needs_loader && !has(PT_DYNAMIC)?,
        symbols: symbols.collect::<object::Result<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_test_is_dynamic_and_has_symbols() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = parse_elf(&bytes).unwrap();
        assert!(elf.needs_loader && !elf.is_static);
        assert!(elf.symbols.iter().any(|name| name == "main"));
        assert_eq!(parse_elf(&bytes[..bytes.len() / 2]).unwrap_err().to_string(), "the file is cut short");
    }

    #[test]
    fn a_script_is_no_program() {
        assert!(parse_elf(b"#!/bin/sh\n").unwrap_err().to_string().starts_with("not a 64-bit"));
        assert!(parse_elf(b"\x7fELF\x02\x01").is_err());
    }
}
