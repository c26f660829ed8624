//! What holds for a key since it holds for a folder that it lies in.

use std::collections::HashMap;

/// A key's path and those of the folders it lies in, up to the root's, which is empty.
pub fn above(key: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(key), |k| k.rfind('/').map(|at| &k[..at]))
}

/// Whether something holds, and the highest index of something.
type Fact = (bool, Option<u64>);

/// Facts of paths, each found once: keys that lie deep share all folders but the last, and to ask for every one of them again would
/// take the square of the depth.
pub struct Above<'a, F> {
    own: F,
    known: HashMap<&'a str, Fact>,
}

impl<F> std::fmt::Debug for Above<'_, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Above").field("known", &self.known).finish_non_exhaustive()
    }
}

impl<'a, F: Fn(&str) -> Fact> Above<'a, F> {
    /// With what is so of a path for itself.
    pub fn new(own: F) -> Self {
        Self { own, known: HashMap::new() }
    }

    /// What is so of a path, or of a folder that it lies in.
    pub fn of(&mut self, key: &'a str) -> Fact {
        let mut fact = Fact::default();
        let mut unknown = Vec::new();
        for path in above(key) {
            if let Some(known) = self.known.get(path) {
                fact = *known;
                break;
            }
            unknown.push(path);
        }
        for path in unknown.into_iter().rev() {
            let (holds, index) = (self.own)(path);
            fact = (fact.0 || holds, fact.1.max(index));
            self.known.insert(path, fact);
        }
        fact
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn each_folder_is_asked_for_once() {
        let asked = Cell::new(0);
        let mut all = Above::new(|path| {
            asked.set(asked.get() + 1);
            (
                path == "/a/b",
                [("", 3), ("/a/b/c", 5), ("/x", 4)].iter().find(|(p, _)| *p == path).map(|(_, i)| *i),
            )
        });
        for (key, expected) in [
            ("/a", (false, Some(3))),
            ("/a/b/c/d", (true, Some(5))),
            ("/a/b/e", (true, Some(3))),
            ("/x/y", (false, Some(4))),
            ("/a/b/c/d", (true, Some(5))),
        ] {
            assert_eq!(all.of(key), expected, "{key}");
        }
        assert_eq!(asked.get(), 8);
    }
}
