use super::*;
use crate::exit::exit_of;
use crate::sys::fs::write_atomic;
use std::os::unix::fs::symlink;

struct Case(tempfile::TempDir);

impl Case {
    fn new(folders: &[&str]) -> Self {
        let case = Self(tempfile::tempdir().unwrap());
        folders.iter().for_each(|folder| fs::create_dir_all(case.path(folder)).unwrap());
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(name)
    }
}

/// Only root can make a link of another user's.
fn made_by_nobody(link: &Path, target: &Path) -> bool {
    symlink(target, link).unwrap();
    std::os::unix::fs::lchown(link, Some(65534), Some(65534)).is_ok()
}

#[test]
fn links_of_roots_are_followed_wherever_they_are() {
    let case = Case::new(&["disk/data/member", "other"]);
    symlink("disk", case.path("relative")).unwrap();
    symlink(case.path("relative/data"), case.path("absolute")).unwrap();
    symlink("../other/../absolute", case.path("other/up")).unwrap();
    for name in ["disk/data", "relative/data", "absolute", "other/up", "other/../disk/./data"] {
        let folder = Folder::open(&case.path(name)).unwrap();
        assert_eq!(folder.path(), case.path("disk/data"), "{name}");
        assert!(folder.at("member").is_dir());
    }
    symlink(case.path("circle"), case.path("circle")).unwrap();
    write_atomic(&case.path("file"), b"", 0o600).unwrap();
    for name in ["circle", "file", "nothing", "disk/nothing"] {
        let error = Folder::open(&case.path(name)).unwrap_err();
        assert_eq!(crate::sys::look::is_absence(&error), name != "circle", "{error:#}");
    }
}

#[test]
fn a_link_that_somebody_else_made_is_not_followed() {
    let case = Case::new(&["roots/below", "etcds"]);
    if !made_by_nobody(&case.path("etcds/link"), &case.path("roots")) {
        return;
    }
    // Behind one of root's it is one as well.
    symlink(case.path("etcds/link/below"), case.path("by-root")).unwrap();
    for name in ["etcds/link", "etcds/link/below", "by-root", "etcds/link/nothing"] {
        let error = Folder::open(&case.path(name)).unwrap_err();
        assert!(exit_of(&error) == Exit::Refused && error.to_string().contains("etcds/link"), "{error:#}");
    }
    let etcds = Folder::open(&case.path("etcds")).unwrap();
    assert!(etcds.inside(OsStr::new("link")).is_err());
    assert!(etcds.private(OsStr::new("link")).is_err());
    write_atomic(&case.path("roots/file"), b"", 0o600).unwrap();
    etcds.remove(OsStr::new("link")).unwrap();
    assert!(case.path("roots/file").exists() && !case.path("etcds/link").exists());
}

#[test]
fn a_second_name_of_a_link_is_no_link_of_roots() {
    let case = Case::new(&["roots"]);
    symlink(case.path("roots"), case.path("link")).unwrap();
    fs::hard_link(case.path("link"), case.path("second")).unwrap();
    let error = Folder::open(&case.path("second")).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Refused);
}

/// What is made, given and put in place is the same folder, whatever has its name meanwhile.
#[test]
fn what_is_exchanged_meanwhile_is_not_what_is_worked_on() {
    let case = Case::new(&["etcds", "roots"]);
    write_atomic(&case.path("roots/file"), b"", 0o600).unwrap();
    let etcds = Folder::open(&case.path("etcds")).unwrap();
    let private = etcds.private(OsStr::new("work")).unwrap();
    fs::rename(case.path("etcds/work"), case.path("etcds/moved")).unwrap();
    symlink(case.path("roots"), case.path("etcds/work")).unwrap();
    fs::create_dir(private.at("new")).unwrap();
    write_atomic(&private.at("new/file"), b"new", 0o600).unwrap();
    hand_over(&private, OsStr::new("new"), None).unwrap();
    assert!(case.path("etcds/moved/new/file").exists() && !case.path("roots/new").exists());
    // Neither does it take a link for a part of what it gives away.
    symlink(case.path("roots/file"), private.at("new/link")).unwrap();
    assert!(hand_over(&private, OsStr::new("new"), None).is_err());
    assert!(etcds.private(OsStr::new("work")).is_err(), "a link");
}

#[test]
fn what_others_can_enter_is_not_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let case = Case::new(&["open"]);
    fs::set_permissions(case.path("open"), fs::Permissions::from_mode(0o755)).unwrap();
    let all = Folder::open(&case.path("")).unwrap();
    let error = all.private(OsStr::new("open")).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Refused);
    assert_eq!(all.private(OsStr::new("new")).unwrap().owner_and_mode().unwrap().2, 0o700);
    all.private(OsStr::new("new")).unwrap();
}

#[test]
fn a_folder_is_created_with_its_owner_and_nothing_is_left_beside_it() {
    let case = Case::new(&[]);
    let own = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw(), 0o750);
    create_as(&case.path("a/b"), own).unwrap();
    assert_eq!(Folder::open(&case.path("a/b")).unwrap().owner_and_mode().unwrap(), own);
    assert_eq!(fs::read_dir(case.path("a")).unwrap().count(), 1);
    write_atomic(&case.path("a/b/file"), b"", 0o600).unwrap();
    assert!(create_as(&case.path("a/b"), own).is_err());
    assert_eq!(fs::read_dir(case.path("a")).unwrap().count(), 1);
}

#[test]
fn two_names_are_exchanged() {
    let case = Case::new(&["a/of-a", "b/of-b"]);
    assert!(exchange(&case.path("a"), &case.path("b")).unwrap());
    assert!(case.path("a/of-b").exists() && case.path("b/of-a").exists());
    rename(&case.path("a"), &case.path("c")).unwrap();
    assert!(case.path("c/of-b").exists());
}

#[test]
fn a_folder_of_ours_lies_in_none_of_etcds() {
    let case = Case::new(&["etcd/data", "etcd/backup", "backup"]);
    let ask = |ours: &str| refuse_if_replaceable(&case.path(ours), &case.path("etcd/data"));
    ask("etcd/backup").unwrap();
    for name in ["etcd", "etcd/data"] {
        if std::os::unix::fs::chown(case.path(name), Some(65534), Some(65534)).is_err() {
            return;
        }
    }
    ask("backup").unwrap();
    let error = ask("etcd/backup").unwrap_err();
    assert!(exit_of(&error) == Exit::Refused && format!("{error:#}").contains("65534"), "{error:#}");
    refuse_if_replaceable(&case.path("etcd/backup"), &case.path("nothing")).unwrap();
}
