use proptest::prelude::*;

use super::*;

const COLUMNS: [Column; 4] =
    [Column::left("state"), Column::right("index"), Column::prose("member"), Column::prose("time")];

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

#[test]
fn a_table_is_as_wide_as_its_cells_or_the_output() {
    let rows = [
        row(["freshest", "6958", "ce2a822cea30bfca e1", "12 s ago"]),
        row(["data directory /var/lib/etcd2; http://10.0.0.1:2380,http://10.0.0.2:2380"]),
        row(["7 fewer", "6951", "8211f1d0f64f3269 москва-東京", ""]),
    ];
    for (width, want) in [
        (
            200,
            "state     index  member                        time\n\
             freshest   6958  ce2a822cea30bfca e1           12 s ago\n\
             \x20   data directory /var/lib/etcd2; http://10.0.0.1:2380,http://10.0.0.2:2380\n\
             7 fewer    6951  8211f1d0f64f3269 москва-東京\n",
        ),
        (
            50,
            "state     index  member                   time\n\
             freshest   6958  ce2a822cea30bfca e1      12 s ago\n\
             \x20   data directory /var/lib/etcd2;\n\
             \x20       http://10.0.0.1:2380,http://10.0.0.2:2380\n\
             7 fewer    6951  8211f1d0f64f3269\n\
             \x20                москва-東京\n",
        ),
        (
            40,
            "state     index  member         time\n\
             freshest   6958  ce2a822cea30b  12 s ago\n\
             \x20                fca e1\n\
             \x20   data directory /var/lib/etcd2;\n\
             \x20       http://10.0.0.1:2380,\n\
             \x20       http://10.0.0.2:2380\n\
             7 fewer    6951  8211f1d0f64f3\n\
             \x20                269\n\
             \x20                москва-東京\n",
        ),
    ] {
        assert_eq!(table(&COLUMNS, &rows, width), want, "{width}");
    }
    assert_eq!(table(&COLUMNS, &[], 80), "");
    // A size stays in one line.
    let size = [row(["room", "1", "9.8 GB free here; 10.4 MB may be needed", ""])];
    let shown = table(&COLUMNS, &size, 44);
    assert!(shown.contains("9.8 GB free here;\n") && shown.contains(" 10.4 MB may be "), "{shown}");
    let labels = [Column::left(""), Column::prose("")];
    assert_eq!(table(&labels, &[row(["etcd", "a b"]), row(["", "c"])], 80), "etcd  a b\n      c\n");
}

#[test]
fn numbers_are_read_at_a_glance() {
    for (n, want) in [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1049, "1.0 kB"),
        (1050, "1.1 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (10_394_112, "10.4 MB"),
        (2_000_000_000, "2.0 GB"),
        (u64::MAX, "18.4 EB"),
    ] {
        assert_eq!(bytes(n), want, "{n}");
    }
    for (seconds, want) in [
        (0, "0 s ago"),
        (119, "119 s ago"),
        (120, "2 min ago"),
        (7199, "119 min ago"),
        (7200, "2 h ago"),
        (172_799, "47 h ago"),
        (172_800, "2 d ago"),
        (31_536_000, "365 d ago"),
    ] {
        assert_eq!(age(Duration::from_secs(seconds)), want, "{seconds}");
    }
    for (n, want) in [(0_u64, "0 keys"), (1, "1 key"), (2, "2 keys")] {
        assert_eq!(count(n, "key", "keys"), want);
    }
    assert_eq!(count(1_usize, "entry", "entries"), "1 entry");
}

#[test]
fn what_is_no_terminal_has_80_columns() {
    let nothing = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(width(&nothing), 80);
}

proptest! {
    #[test]
    fn no_line_is_wider_than_asked(
        cells in proptest::collection::vec(proptest::collection::vec("[a-zé東, ]{0,40}", 4), 0..5),
        notes in proptest::collection::vec("[a-zé東, ]{0,90}", 0..3),
        width in 0_usize..120,
    ) {
        let notes = notes.into_iter().map(|note| vec![note]);
        let rows: Vec<Vec<String>> = cells.iter().cloned().chain(notes).collect();
        let of = |at: usize| cells.iter().map(|row| row[at].width()).max().unwrap_or(0);
        let fixed = of(0).max("state".len()) + of(1).max("index".len());
        let least = (fixed + 2 * NARROWEST + 3 * GAP).max(NARROWEST + 2 * INDENT);
        let shown = table(&COLUMNS, &rows, width);
        for line in shown.lines() {
            prop_assert!(line.width() <= width.max(least), "{width}: {line:?}");
        }
        // Nothing is left out but blanks.
        let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).count();
        let there: usize = rows.iter().flatten().map(|cell| letters(cell)).sum();
        let heads = if rows.is_empty() { 0 } else { letters("stateindexmembertime") };
        prop_assert_eq!(letters(&shown), there + heads);
    }
}
