//! What stands between rclone and the remote: per call, what a seed draws.

use std::fs;
use std::path::{Path, PathBuf};

use testkit::faults::wrapper::Wrapper;
use testkit::files::write;
use testkit::node::Node;

use super::Random;

/// What becomes of an upload. The first two tell the truth, the next two are seen to fail, the others say that all went well.
const UPLOADS: [&str; 10] = [
    "honest",
    "honest",
    "exit 7",
    "honest; exit 7",
    "lie; exit 0",
    "lie; dry_run",
    "lie; filtered",
    "lie; BELOW=/x; honest",
    "lie; mkdir -p $D/elsewhere && cp -r $FROM/. $D/elsewhere",
    "lie; honest; cut",
];
/// What becomes of a listing.
const LISTINGS: [&str; 7] =
    ["honest", "honest", "exit 7", "echo '[]'", "exit 3", "cat $D/stale", "echo '[{'"];
/// Calls of a verb in one cycle for each of which is drawn; what comes behind them is as the last one.
const CALLS: usize = 3;

/// How to copy, to list, to copy with a dry run, and with a filter.
const RCLONE: [&str; 4] = [
    r#""$REAL" "$@"$BELOW"#,
    r#""$REAL" "$@""#,
    r#""$REAL" --dry-run "$@""#,
    r#""$REAL" --exclude '*.part' "$@""#,
];
const STAND_IN: [&str; 4] =
    [r#"mkdir -p "$FOLDER$BELOW" && cp -r "$FROM/." "$FOLDER$BELOW""#, "list", "exit 0", "exit 0"];

/// See the module.
pub(super) struct Remote {
    wrapper: Wrapper,
    dir: PathBuf,
    id: String,
    /// Whether rclone itself is run, or what does the same to a folder in a fraction of the time.
    real: bool,
    places: usize,
    /// The folder that the remote leads to.
    place: PathBuf,
}

/// What was called in a cycle.
#[derive(Debug)]
pub(super) struct Called {
    /// Each verb.
    pub(super) verbs: Vec<String>,
    /// Uploads that were said to be done, and were not.
    pub(super) lies: usize,
    /// Listings that showed what is there.
    pub(super) looks: usize,
}

impl Remote {
    pub(super) fn new(node: &mut Node, wrapper: Wrapper, real: bool) -> Self {
        let dir = node.root().with_file_name("between");
        fs::create_dir_all(&dir).unwrap();
        node.environment.insert("RCLONE_ENDPOINT".into(), "there:backups".into());
        let place = PathBuf::new();
        let mut this = Self { wrapper, dir, id: node.machine_id.clone(), real, places: 0, place };
        this.lead_elsewhere(node, &mut Random(1));
        this
    }

    /// The machine's folder where the remote leads to.
    pub(super) fn folder(&self) -> PathBuf {
        self.place.join("backups").join(&self.id)
    }

    /// Another rclone.conf: an empty place, one where all of it was copied to, or one of before.
    pub(super) fn lead_elsewhere(&mut self, node: &Node, random: &mut Random) -> &'static str {
        let before = self.place.clone();
        let place = |number: usize| self.dir.with_file_name(format!("place-{number}"));
        let (next, what) = match random.below(3) {
            0 if self.places > 1 => (place(random.below(self.places)), "an earlier place"),
            1 if self.places > 0 => {
                let next = place(self.places);
                let _ = fs::remove_dir_all(&next);
                testkit::files::copy(&[&before], &next.with_file_name("moved"));
                fs::rename(next.with_file_name("moved").join(before.file_name().unwrap()), &next).unwrap();
                (next, "a place with all that was there")
            }
            _ => (place(self.places), "an empty place"),
        };
        self.places += usize::from(next == place(self.places));
        fs::create_dir_all(&next).unwrap();
        write(
            &node.path("/etc/rclone.conf"),
            format!("[there]\ntype = alias\nremote = {}\n", next.display()),
        );
        self.place = next;
        what
    }

    /// Another rclone, so that all that was sent is looked for.
    pub(super) fn upgrade(&self) {
        self.wrapper.upgrade();
    }

    /// Tells the truth from now on.
    pub(super) fn honest(&self) {
        self.set(&["honest"], &["honest"]);
    }

    /// Draws for each call of the next cycle. `hit` is what happens to etcd's files beneath its first listing.
    pub(super) fn draw(&self, random: &mut Random, hit: Option<(&Path, &[u8])>) -> String {
        let draw = |from: &[&'static str], random: &mut Random| -> Vec<&str> {
            (0..CALLS).map(|_| from[random.below(from.len())]).collect()
        };
        let uploads = draw(&UPLOADS, random);
        let honest = random.below(2) == 0;
        let mut listings = if honest { vec!["honest"] } else { draw(&LISTINGS, random) };
        let hits = hit.map(|(path, bytes)| {
            write(&self.dir.join("hit"), bytes);
            format!("cat $D/hit >{}; honest", path.display())
        });
        if let Some(hits) = &hits {
            listings.insert(0, hits);
        }
        self.set(&uploads, &listings);
        format!("uploads {uploads:?}, listings {listings:?}")
    }

    fn set(&self, uploads: &[&str], listings: &[&str]) {
        for name in ["copies", "listings", "lies", "looks"] {
            let _ = fs::remove_file(self.dir.join(name));
        }
        let stale = self.dir.join("stale");
        let (d, folder, id) = (self.dir.display(), self.folder(), &self.id);
        // A function sees its own arguments only.
        let given = |what: &str| {
            let with = |text: String, name: &str| text.replace(name, &format!("{name} \"$@\""));
            ["honest", "dry_run", "filtered"].into_iter().fold(what.to_owned(), with)
        };
        let cases = |all: &[&str]| -> String {
            let last = all.len();
            let named = |(at, what): (usize, &&str)| match at + 1 == last {
                true => format!("*) {};;\n", given(what)),
                false => format!("{}) {};;\n", at + 1, given(what)),
            };
            all.iter().enumerate().map(named).collect()
        };
        let [copy, lsjson, dry, filtered] = if self.real { RCLONE } else { STAND_IN };
        let body = format!(
            r#"D={d} FOLDER={folder} BELOW=
for TO; do FROM=$NEXT NEXT=$TO; done
case "$*" in *--files-from*) exec "$REAL" "$@";; esac
[ "$TO" = there:backups/{id} ] || exec "$REAL" "$@"
list() {{
    [ -d "$FOLDER" ] || exit 3
    echo '[{{"Path":"-","Size":0}}'
    find "$FOLDER" -type f -printf ',{{"Path":"%P","Size":%s}}\n'
    echo ]
}}
count() {{ echo . >>$D/$1; N=$(wc -l <$D/$1); }}
lie() {{ echo . >>$D/lies; }}
dry_run() {{ {dry}; }}
filtered() {{ {filtered}; }}
cut() {{ cd "$FROM" && find . -type f -name '*.part' | while read -r f; do truncate -s -$((1 + ${{#f}} % 7)) "$FOLDER/$f"; done; }}
case $VERB in
copy)
    honest() {{ {copy}; }}
    count copies
    case $N in
{copies}    esac;;
lsjson)
    honest() {{ echo . >>$D/looks; {lsjson}; }}
    count listings
    case $N in
{listings}    esac;;
*) exec "$REAL" "$@";;
esac
"#,
            folder = folder.display(),
            copies = cases(uploads),
            listings = cases(listings),
        );
        self.wrapper.instead(&body);
        let listed =
            list(&folder).into_iter().map(|(path, size)| format!(r#"{{"Path":"{path}","Size":{size}}}"#));
        write(&stale, format!("[{}]", listed.collect::<Vec<_>>().join(",")));
    }

    /// What was called since the last draw.
    pub(super) fn called(&self) -> Called {
        let lines = |name: &str| fs::read_to_string(self.dir.join(name)).unwrap_or_default().lines().count();
        Called { verbs: self.wrapper.calls(), lies: lines("lies"), looks: lines("looks") }
    }
}

/// The files below a folder, and their sizes.
pub(super) fn list(folder: &Path) -> Vec<(String, u64)> {
    let files = testkit::files::tree(folder).into_iter();
    files.filter_map(|(path, content)| Some((path.to_str()?.to_owned(), content?.len() as u64))).collect()
}
