//! The word somebody probably meant.

/// The known word nearest to `word`, if it is near enough to be a slip of the finger. The first letter is seldom wrong,
/// so it decides between equals.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (distance(word, k), k.chars().next() != word.chars().next(), k))
        .min()
        .filter(|(d, _, k)| *d <= (k.len() / 3).max(2) && *d < k.len())
        .map(|(_, _, k)| k)
}

/// How many letters must be put in, taken out or replaced to make one word of the other (Levenshtein). Case does not
/// count, as far as it is ASCII: the tables for all other letters would be the larger part of this.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(!ca.eq_ignore_ascii_case(&cb));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[row.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, want) in [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("Image", "image", 0)] {
            assert_eq!(distance(a, b), want, "{a} {b}");
            assert_eq!(distance(b, a), want, "{b} {a}");
        }
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        let known = ["founder", "endpoint", "interval", "etcd_unit", "force", "source"];
        for (word, want) in [
            ("fuonder", Some("founder")),
            ("end-point", Some("endpoint")),
            ("etcd-unit", Some("etcd_unit")),
            ("sorce", Some("source")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), want, "{word}");
        }
    }
}
