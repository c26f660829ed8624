//! The documents as a book: its table of contents has every page, and no link leads nowhere.

use std::fs;
use std::path::PathBuf;

use crate::docs::{documents, root};

/// Where the links of a page lead: to what, and to which heading of it.
fn links(text: &str) -> Vec<(&str, Option<&str>)> {
    let targets = text.match_indices("](").map(|(at, found)| &text[at + found.len()..]);
    let targets = targets.map(|rest| &rest[..rest.find(')').unwrap()]).filter(|t| !t.contains("://"));
    targets.map(|t| t.split_once('#').map_or((t, None), |(file, anchor)| (file, Some(anchor)))).collect()
}

/// The names that headings get, on GitHub and in the book: `# etcd's files` is `etcds-files`.
fn anchors(text: &str) -> Vec<String> {
    let mut fenced = false;
    let headings = text.lines().filter(|line| {
        fenced ^= line.starts_with("```");
        !fenced && line.starts_with('#')
    });
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let name = |title: &str| title.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-");
    headings.map(|line| name(line.trim_start_matches('#').trim())).collect()
}

#[test]
fn every_link_leads_to_a_page_and_a_heading_that_are_there() {
    let mut count = 0;
    for (path, text) in documents() {
        for (file, anchor) in links(&text) {
            let to = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let name = format!("{}: {file}#{}", path.display(), anchor.unwrap_or(""));
            assert!(to.exists(), "{name}");
            if let Some(anchor) = anchor {
                let there = anchors(&fs::read_to_string(&to).unwrap());
                assert!(there.iter().any(|a| a == anchor), "{name} is none of {there:?}");
            }
            count += 1;
        }
    }
    assert!(count >= 80, "only {count} links were found");
}

#[test]
fn the_books_pages_are_those_of_its_table_of_contents() {
    let docs = root().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let mut listed: Vec<PathBuf> = links(&summary).into_iter().map(|(page, _)| docs.join(page)).collect();
    let mut there: Vec<PathBuf> = documents().into_iter().map(|(path, _)| path).collect();
    there.retain(|path| path.starts_with(&docs) && !path.ends_with("SUMMARY.md"));
    listed.sort();
    there.sort();
    assert_eq!(listed, there);
}

/// The book has its pages and nothing else of the checkout: there, such a link would lead nowhere.
#[test]
fn no_link_of_the_book_leads_out_of_it() {
    let docs = root().join("docs");
    for (path, text) in documents().into_iter().filter(|(path, _)| path.starts_with(&docs)) {
        for (file, _) in links(&text) {
            let out = path.parent().unwrap().join(file);
            let out = fs::canonicalize(&out).unwrap_or(out);
            assert!(out.starts_with(fs::canonicalize(&docs).unwrap()), "{}: {file}", path.display());
        }
    }
}

#[test]
fn a_headings_name_is_that_of_github() {
    let text = "# etcd's files\n```sh\n# a comment\n```\n## 2. `rclone.conf`, all-in_one\n";
    assert_eq!(anchors(text), ["etcds-files", "2-rcloneconf-all-in_one"]);
    assert_eq!(
        links("[a](b.md#c) [d](https://e#f) [g](#h) [i](j)"),
        [("b.md", Some("c")), ("", Some("h")), ("j", None)]
    );
}
