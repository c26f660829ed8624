//! Whether a text is a limit of bandwidth as rclone reads it. Pure.

/// One limit, or a table of limits by the hour.
pub(super) fn is_bwlimit(text: &str) -> bool {
    let timed =
        |entry: &str| entry.split_once(',').is_some_and(|(time, rate)| is_time(time) && is_rate(rate));
    is_rate(text) || (!text.is_empty() && text.split(' ').all(timed))
}

/// `08:00`, or `Mon-08:00`.
fn is_time(text: &str) -> bool {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let time = text.split_once('-').map_or(Some(text), |(day, time)| DAYS.contains(&day).then_some(time));
    let two = |digits: &str| Some(digits).filter(|d| d.len() == 2).and_then(|d| d.parse::<u8>().ok());
    let parts = time.and_then(|time| time.split_once(':')).map(|(hour, minute)| (two(hour), two(minute)));
    matches!(parts, Some((Some(..24), Some(..60))))
}

/// `2M`, or `UP:DOWN`.
fn is_rate(text: &str) -> bool {
    let one = |rate: &str| {
        let number = rate.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = ["", "B", "b", "k", "K", "Ki", "KiB", "M", "Mi", "MiB", "G", "Gi", "GiB"]
            .contains(&&rate[number.len()..]);
        let digits = |d: &str| !d.is_empty() && d.len() < 10 && d.bytes().all(|b| b.is_ascii_digit());
        let number = number.split_once('.').map_or(digits(number), |(a, b)| digits(a) && digits(b));
        rate == "off" || (number && unit)
    };
    text.split_once(':').map_or_else(|| one(text), |(up, down)| one(up) && one(down))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_bandwidth_is_what_rclone_reads() {
        for good in [
            "off",
            "2M",
            "512",
            "1.5M",
            "100k",
            "1MiB",
            "2M:10M",
            "off:1M",
            "08:00,512k 12:00,10M:off 23:59,off",
            "Mon-00:00,512 Sun-20:00,off",
        ] {
            assert!(is_bwlimit(good), "{good}");
        }
        for bad in [
            "",
            " ",
            "fast",
            "-1",
            "M",
            "1..5M",
            ".5M",
            "2X",
            "2M:",
            ":2M",
            "1:2:3",
            "8:00,1M",
            "24:00,1M",
            "08:60,1M",
            "08:00,",
            "Day-08:00,1M",
            "08:00,1M  12:00,1M",
            "08:00,1M;12:00,2M",
            "2M --config",
            "+5M",
        ] {
            assert!(!is_bwlimit(bad), "{bad}");
        }
    }
}
