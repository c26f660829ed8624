use proptest::prelude::*;

use super::*;

#[test]
fn a_command_is_never_broken_so_that_half_of_it_can_be_pasted() {
    for (text, width, want) in [
        ("hint: sudo systemctl start x.service", 80, "hint: sudo systemctl start x.service\n"),
        (
            "to list them: sudo /opt/bin/etcd2-backup list; to take it: sudo /opt/bin/etcd2-backup undo",
            50,
            "to list them: sudo /opt/bin/etcd2-backup list;\n    to take it: sudo /opt/bin/etcd2-backup undo\n",
        ),
        (
            "run (`sudo rm a`), then go on for a while",
            25,
            "run (`sudo rm a`),\n    then go on for a\n    while\n",
        ),
        (
            "sudo /opt/bin/etcd2-backup restore --from 0123456789abcdef0123456789abcdef --generation 12",
            60,
            "sudo /opt/bin/etcd2-backup restore --from \\\n    0123456789abcdef0123456789abcdef --generation 12\n",
        ),
        (
            "see why: journalctl -u etcd2-backup.service -n 50; then start it",
            40,
            "see why:\n    journalctl -u etcd2-backup.service \\\n    -n 50; then start it\n",
        ),
        (
            "see which members run: etcdctl cluster-health; whose is fresh: sudo /opt/bin/etcd2-backup sources",
            50,
            "see which members run: etcdctl cluster-health;\n    whose is fresh:\n    \
             sudo /opt/bin/etcd2-backup sources\n",
        ),
        // Behind another command, but not in the middle of a sentence.
        (
            "sudo systemctl start x.service; journalctl -u x.service",
            50,
            "sudo systemctl start x.service;\n    journalctl -u x.service\n",
        ),
        // What a program calls itself is no call of it.
        ("etcd2-backup 0.1.0 (commit 0e45c84790ef)", 30, "etcd2-backup 0.1.0 (commit\n    0e45c84790ef)\n"),
        (
            "what systemctl shows and what it does not",
            21,
            "what systemctl\n    shows and what it\n    does not\n",
        ),
    ] {
        assert_eq!(paragraph(text, width), want);
    }
}

#[test]
fn a_number_stays_with_its_unit() {
    for (text, width, want) in [
        ("this is a part of 10.4 MB", 22, "this is a part of\n    10.4 MB\n"),
        ("verifying takes 12 s, or more", 19, "verifying takes\n    12 s, or more\n"),
        ("it reads all (at 600 kB/s) or so", 24, "it reads all (at\n    600 kB/s) or so\n"),
        ("there are 2 members of it", 15, "there are 2\n    members of\n    it\n"),
    ] {
        assert_eq!(paragraph(text, width), want);
    }
}

#[test]
fn what_does_not_fit_goes_on_below_its_line() {
    let text =
        "keep    name of generation  it is the newest\n  rm a\n\n  remove what was left there yesterday\n";
    let want = "keep    name of generation\n    it is the newest\n  rm a\n\n  remove what was left there\n      yesterday\n";
    assert_eq!(lines(text, 32), want);
    assert_eq!(lines(text, usize::MAX), text);
    let path = "/var/lib/etcd2/member is kept as /var/lib/etcd2/member.before-restore-20261130T013410Z";
    let want =
        "/var/lib/etcd2/member is kept as\n    /var/lib/etcd2/member.before-restore-20261130T013410Z\n";
    assert_eq!(lines(path, 40), want);
    assert_eq!(lines("", 10), "");
    let nothing = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(width(&nothing), usize::MAX);
}

proptest! {
    /// Nothing but blanks and the sign that a command goes on is added or left out, and no line is too wide.
    #[test]
    fn any_text_fits(text in "(sudo |12 MB|journalctl -u x; |[a-zé東,;:( ]{0,12}){0,12}", width in 20_usize..90) {
        let shown = lines(&text, width);
        for line in shown.lines() {
            // But for a word, or a number and its unit, that is longer.
            let words = line.split_whitespace().filter(|word| *word != "\\").count();
            prop_assert!(line.width() <= width || words <= 2, "{width}: {line:?}");
        }
        let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace() && *c != '\\').collect::<String>();
        prop_assert_eq!(letters(&shown), letters(&text));
    }
}
