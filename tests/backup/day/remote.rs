//! A remote for thousands of calls: a folder behind a script of a few milliseconds, which notes each call. A real rclone takes a
//! hundred.

use std::fs;
use std::path::PathBuf;

use testkit::files::{write, write_program};
use testkit::node::Node;

/// See the module.
pub(crate) struct Remote {
    program: PathBuf,
    work: PathBuf,
}

/// `lagging` is there while listings are late: the first two behind each upload are those of before, unless it is long ago.
const SCRIPT: &str = r#"
for word; do
    case $word in copy|lsjson|version) verb=${verb:-$word};; esac
    from=$to to=$word
done
echo $verb >>$WORK/calls
to=${to#r:}
list() {
    [ -d "$to" ] || return 3
    echo [
    find "$to" -type f -printf '{"Path":"%P","Size":%s},\n' | sed '$s/,$//'
    echo ]
}
case $verb in
    version) echo rclone v1.60.1;;
    copy)
        lags=
        if [ -e $WORK/lagging ]; then list >$WORK/before || echo '[]' >$WORK/before; lags=xx; fi
        echo $lags >$WORK/lags
        { [ -d "$to" ] || mkdir -p "$to"; } && cp -r "$from/." "$to";;
    lsjson)
        read lags <$WORK/lags
        case $lags in
            x*) echo ${lags#x} >$WORK/lags; cat $WORK/before;;
            *) list;;
        esac;;
    *) exit 1;;
esac
"#;

impl Remote {
    /// From now on the rclone that came with the node's tarball.
    pub(crate) fn new(node: &mut Node) -> Self {
        node.environment.insert("ETCD2_BACKUP_RCLONE_RUNNER".into(), "bundled".into());
        let program = node.path("/opt/bin/etcd2-backup-rclone");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        let work = node.root().with_file_name("rclone");
        fs::create_dir_all(&work).unwrap();
        let this = Self { program, work };
        this.settle();
        this.upgrade("one");
        this.calls();
        this
    }

    /// Makes another program of it.
    pub(crate) fn upgrade(&self, name: &str) {
        let script = format!("#!/bin/sh\n# {name}\nWORK={}\n{SCRIPT}", self.work.display());
        write_program(&self.program, &script);
    }

    /// Whether listings lag from now on.
    pub(crate) fn lag(&self, lags: bool) {
        let path = self.work.join("lagging");
        if lags { write(&path, "") } else { fs::remove_file(path).unwrap() }
    }

    /// What was sent is shown by now.
    pub(crate) fn settle(&self) {
        write(&self.work.join("lags"), "\n");
    }

    /// The verbs of all calls since the last look, but for `version`.
    pub(crate) fn calls(&self) -> Vec<String> {
        let path = self.work.join("calls");
        let calls = fs::read_to_string(&path).unwrap_or_default();
        write(&path, "");
        calls.lines().filter(|verb| *verb != "version").map(str::to_owned).collect()
    }
}
