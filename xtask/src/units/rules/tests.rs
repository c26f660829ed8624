//! Each rule, broken by a template that keeps all others.

use super::*;
use crate::site::faults::Several;
use crate::site::tests::{CONF, MINIMAL, load_of};
use crate::units::judged;
use crate::units::render::expand;

const UNITS: &str = "etc/systemd/system/";

/// What is said if this text takes the place of that built-in template.
fn said(name: &str, edit: impl Fn(&str) -> String) -> Vec<(bool, String)> {
    let mut site = load_of(MINIMAL, CONF).unwrap();
    let path = format!("{UNITS}{name}.tera");
    let text = edit(&crate::site::templates::stock()[&path]);
    site.templates.insert(path, text);
    let found = check(&site, &expand(&site, &site.templates).unwrap());
    let refused: Vec<&str> = found.iter().filter(|f| f.refused).map(|f| f.what.as_str()).collect();
    let told = judged(&site).err().map(|e| match e.downcast::<Several>() {
        Ok(Several(all)) => all.iter().map(ToString::to_string).collect(),
        Err(one) => vec![one.to_string()],
    });
    assert_eq!(told.unwrap_or_default(), refused);
    found.into_iter().map(|f| (f.refused, f.what)).collect()
}

/// Rows: the template, what is replaced in it by what, what is said.
#[test]
fn what_would_break_a_backup_or_a_recovery_is_refused() {
    let etcd = "etcd2.service.d/30-etcd2-backup-fence.conf";
    let drop_in = "etcd2-backup.service.d/30-etcd2-backup-restore.conf";
    let (backup, restore, join) = ("etcd2-backup.service", "etcd2-restore.service", "etcd2-join.service");
    let timer = "etcd2-backup.timer";
    let run = "ExecStart={{ program }}";
    let not = |unit: &str, verb: &str, got: &str| {
        format!("{unit} does not run /opt/bin/etcd2-backup {verb} and nothing else: ExecStart={got}")
    };
    let long = "x".repeat(3000);
    for (name, from, to, want) in [
        (
            restore,
            "{{ program }} restore",
            "{{ program }} backup",
            not(restore, "restore", "/opt/bin/etcd2-backup backup"),
        ),
        (join, "{{ program }} join", "-{{ program }} join", not(join, "join", "-/opt/bin/etcd2-backup join")),
        (
            join,
            "{{ program }} join",
            "/bin/sh -c '{{ program }} join'",
            not(join, "join", "/bin/sh -c '/opt/bin/etcd2-backup join'"),
        ),
        (join, "{{ program }} join", "{{ program }} joint", not(join, "join", "/opt/bin/etcd2-backup joint")),
        (
            backup,
            run,
            "ExecStart=/bin/true\nExecStart={{ program }}",
            not(backup, "backup", "/bin/true and /opt/bin/etcd2-backup backup"),
        ),
        (backup, "ExecStart={{ program }} backup", "ExecStart=", not(backup, "backup", "")),
        (backup, "oneshot", "simple", "etcd2-backup.service is not of Type=oneshot".into()),
        (restore, "Type=oneshot\n", "", "etcd2-restore.service is not of Type=oneshot".into()),
        (
            backup,
            "Type=oneshot",
            "Type=oneshot\nRemainAfterExit=Yes",
            "etcd2-backup.service has RemainAfterExit=yes".into(),
        ),
        (restore, "[Unit]", "[Unit]\nConflicts=etcd2.service", "etcd2-restore.service has Conflicts=".into()),
        (
            join,
            "[Service]",
            "[Install]\nWantedBy=multi-user.target\n[Service]",
            "etcd2-join.service has an [Install] section".into(),
        ),
        (
            restore,
            "[Unit]",
            "[Unit]\nBefore=a.service etcd2.service",
            "etcd2-restore.service has Before=etcd2.service".into(),
        ),
        (
            drop_in,
            "[Service]",
            "[Unit]\nConflicts=x.service\n[Service]",
            "etcd2-backup.service has Conflicts=".into(),
        ),
        (
            drop_in,
            "[Service]",
            "[Service]\nExecStart=/bin/true",
            not(backup, "backup", "/opt/bin/etcd2-backup backup and /bin/true"),
        ),
        (
            drop_in,
            "{{ setting.value }}",
            "{% if setting.name == \"RCLONE_ENDPOINT\" %}s3:other{% else %}{{ setting.value }}{% endif %}",
            format!("{SETTINGS} sets RCLONE_ENDPOINT to \"s3:other\", the site says \"s3:bucket/path\""),
        ),
        (
            drop_in,
            "{{ setting.name }}",
            "{% if setting.name == \"ETCD_DATA_DIR\" %}X{% else %}{{ setting.name }}{% endif %}",
            format!("{SETTINGS} does not set ETCD_DATA_DIR"),
        ),
        (
            drop_in,
            "[Service]",
            "[Unit]",
            format!("{SETTINGS} does not set ETCD_RESTORE_MASTER_ADV_PEER_URLS"),
        ),
        (etcd, "!{{ fence }}", "{{ fence }}", format!("{FENCE} has no fence")),
        (etcd, "!{{ fence }}", "|!{{ fence }}", format!("{FENCE} has no fence")),
        (etcd, "[Service]", "AssertPathExists=\n[Service]", format!("{FENCE} has no fence")),
        (etcd, "AssertPathExists=", "ConditionPathExists=", format!("{FENCE} has no fence")),
        (etcd, "[Unit]", "[Unit]\nConflicts=x.service", format!("{FENCE} has Conflicts=")),
        (timer, "OnUnitActiveSec", "OnStartupSec", "etcd2-backup.timer starts no second backup".into()),
        (timer, "OnBootSec={{ boot_delay }}\n", "", "etcd2-backup.timer starts no first backup".into()),
        (
            timer,
            "[Timer]",
            "[Timer]\nUnit=etcd2-restore.service",
            "etcd2-backup.timer starts etcd2-restore.service".into(),
        ),
        (
            timer,
            "OnUnitActiveSec={{ interval }}",
            "OnUnitActiveSec=30s\nOnUnitInactiveSec=4s 900ms",
            "etcd2-backup.timer: OnUnitInactiveSec=4s 900ms is shorter than 5 s: systemd refuses to start a service \
             more than 5 times in 10 s"
                .into(),
        ),
        (
            timer,
            "OnUnitActiveSec={{ interval }}",
            "OnCalendar=*:*:0/10\nOnCalendar=*:*:3/10",
            "etcd2-backup.timer: OnCalendar= has times 3 s apart, less than 5 s: systemd refuses to start a service \
             more than 5 times in 10 s"
                .into(),
        ),
        (
            "etcd2-backup-verify.timer",
            "OnCalendar={{ verify.schedule | safe }}",
            "OnUnitActiveSec=1",
            "etcd2-backup-verify.timer: OnUnitActiveSec=1 is shorter than 5 s: systemd refuses to start a service \
             more than 5 times in 10 s"
                .into(),
        ),
        (timer, "WantedBy=timers.target\n", "", "etcd2-backup.timer has no WantedBy=".into()),
        (timer, "[Unit]", "[Unit]\r", "etcd2-backup.timer contains the control character \\r".into()),
        (
            timer,
            "[Unit]",
            &format!("# {long}\n[Unit]"),
            "etcd2-backup.timer, line 1: 3002 bytes, more than 2047".into(),
        ),
    ] {
        let found = said(name, |text| {
            assert!(text.contains(from), "{name}: {from}");
            text.replace(from, to)
        });
        assert!(found.contains(&(true, want.clone())), "{name}: {to}: {want}\n{found:#?}");
        assert_eq!(found[0], (true, want), "{name}: {to}");
    }
}

#[test]
fn what_may_work_is_a_warning() {
    let etcd = "etcd2.service.d/30-etcd2-backup-fence.conf";
    let (backup, restore) = ("etcd2-backup.service", "etcd2-restore.service");
    let drop_in = "etcd2-backup.service.d/30-etcd2-backup-restore.conf";
    let unknown = |what: &str| {
        format!("{what}= is not one of the directives that are known to work from systemd 231 on")
    };
    for (name, from, to, want) in [
        (backup, "Nice=", "MemoryMax=1G\nNice=", vec![unknown("etcd2-backup.service: MemoryMax")]),
        (
            backup,
            "Nice=",
            "ExecCondition=/bin/true\nNice=",
            vec!["etcd2-backup.service: ExecCondition= came with systemd 243".into()],
        ),
        (
            backup,
            "TimeoutStartSec={{ backup_timeout }}\n",
            "",
            vec!["etcd2-backup.service has no TimeoutStartSec=".into()],
        ),
        (
            restore,
            "SystemCallFilter=~@clock",
            "SystemCallFilter=@system-service",
            vec!["etcd2-restore.service has a SystemCallFilter= that lists what is allowed".into()],
        ),
        // Taking rights away and being ignored in that does no harm.
        (backup, "Nice=", "ProtectProc=ptraceable\nNice=", vec![]),
        (backup, "{{ program }} backup", "{{ program }} backup\nExecStartPre=/bin/true", vec![]),
        (restore, "{{ program }} restore", "{{ program }} restore --source auto", vec![]),
        (
            restore,
            "TimeoutStartSec=",
            "EnvironmentFile=/x\nTimeoutStartSec=",
            vec!["etcd2-restore.service has EnvironmentFile=".into()],
        ),
        (
            restore,
            "[Unit]\n",
            "",
            vec![
                "etcd2-restore.service: Description= stands in no section".into(),
                "etcd2-restore.service: Wants= stands in no section".into(),
                "etcd2-restore.service: After= stands in no section".into(),
            ],
        ),
        (etcd, "ExecStartPre=", "ExecStartPre=-", vec![format!("{FENCE} has no guard")]),
        (
            drop_in,
            "[Service]\n",
            "[Service]\nEnvironment=RCLONE_DRY_RUN=true RCLONE_TRANSFERS=2 \"RCLONE_S3_REGION=x\"\n",
            vec![format!("{SETTINGS} sets RCLONE_DRY_RUN, which is not passed to rclone")],
        ),
    ] {
        let found = said(name, |text| {
            assert!(text.contains(from), "{name}: {from}");
            text.replace(from, to)
        });
        assert_eq!(found, want.into_iter().map(|w| (false, w)).collect::<Vec<_>>(), "{name}: {to}");
    }
}

#[test]
fn a_build_hears_all_warnings_or_the_first_refusal() {
    let mut site = load_of(MINIMAL, CONF).unwrap();
    site.warnings = vec![Finding::warning("open", "close")];
    assert_eq!(judged(&site).unwrap().findings, site.warnings);
    let path = format!("{UNITS}etcd2-backup.service.tera");
    let text = crate::site::templates::stock()[&path].replace("Nice=", "ExecCondition=/bin/true\nNice=");
    site.templates.insert(path.clone(), text.clone());
    assert_eq!(
        judged(&site).unwrap().findings[1].what,
        "etcd2-backup.service: ExecCondition= came with systemd 243"
    );
    site.templates.insert(path, text.replace("oneshot", "simple"));
    assert_eq!(judged(&site).unwrap_err().to_string(), "etcd2-backup.service is not of Type=oneshot");
}
