//! The book and the other documents: every page is in the summary, and every link leads somewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const DOCUMENTS: [&str; 6] =
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "JSONRPC.md", "PROTOCOL.md", "SECURITY.md"];

/// The pages of the book, by their paths from the root, with what they include in its place.
fn pages() -> BTreeMap<PathBuf, String> {
    let folder = Path::new("docs/src");
    let entries = fs::read_dir(Path::new(ROOT).join(folder)).unwrap();
    let names = entries.map(|entry| folder.join(entry.unwrap().file_name()));
    names.map(|name| (name.clone(), included(&name))).collect()
}

fn read(name: &Path) -> String {
    fs::read_to_string(Path::new(ROOT).join(name))
        .unwrap_or_else(|error| panic!("{}: {error}", name.display()))
}

fn included(name: &Path) -> String {
    let text = read(name);
    match text.strip_prefix("{{#include ").and_then(|rest| rest.strip_suffix("}}\n")) {
        Some(other) => read(&resolved(name, other)),
        None => {
            assert!(
                !text.contains("{{#"),
                "{}: a page includes one file and has no other text",
                name.display()
            );
            text
        }
    }
}

/// The path from the root to which a link of this page leads.
fn resolved(page: &Path, link: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in page.parent().unwrap().join(link).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{}: `{link}` leaves the repository", page.display()),
            other => path.push(other),
        }
    }
    path
}

/// The lines that are not in a block of code, without code in backticks.
fn prose(text: &str) -> Vec<String> {
    let mut in_code = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    });
    lines.map(|line| line.split('`').step_by(2).collect::<Vec<_>>().join("`")).collect()
}

/// The targets of the links of a page.
fn links(text: &str) -> Vec<String> {
    let lines = prose(text);
    let targets = lines.iter().flat_map(|line| line.split("](").skip(1));
    targets.map(|rest| rest.split(')').next().unwrap().to_owned()).collect()
}

/// What a heading is called in a link.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut in_code = false;
    let headings = text.lines().filter(|line| {
        in_code ^= line.starts_with("```");
        !in_code && line.starts_with('#')
    });
    headings.map(|heading| slug(heading.trim_start_matches('#').trim())).collect()
}

fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[test]
fn the_summary_names_every_page_of_the_book() {
    let summary = Path::new("docs/src/SUMMARY.md");
    let listed: Vec<_> = links(&read(summary)).iter().map(|link| resolved(summary, link)).collect();
    let distinct: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(distinct.len(), listed.len(), "a page is listed twice: {listed:?}");
    let pages: BTreeSet<_> = pages().into_keys().filter(|page| page != summary).collect();
    assert_eq!(distinct, pages);
}

/// A link of the book leads to a page of the book: nothing else is there for its readers.
#[test]
fn every_link_of_the_documents_leads_to_a_file_and_a_heading() {
    let book = pages();
    let documents = DOCUMENTS.map(|name| (PathBuf::from(name), read(Path::new(name))));
    let mut checked = 0;
    for (page, text) in book.iter().map(|(page, text)| (page.clone(), text.clone())).chain(documents) {
        for link in links(&text).iter().filter(|link| !link.starts_with("https://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { resolved(&page, file) };
            let name = page.display();
            let in_book = book.contains_key(&page);
            assert!(!in_book || book.contains_key(&target), "{name}: `{link}` leads out of the book");
            assert!(Path::new(ROOT).join(&target).exists(), "{name}: `{link}` leads nowhere");
            if !anchor.is_empty() {
                let text = book.get(&target).cloned().unwrap_or_else(|| read(&target));
                assert!(anchors(&text).contains(anchor), "{name}: `{link}` names no heading");
            }
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} links were found");
}

#[test]
fn headings_and_links_are_read_as_readers_of_markdown_do() {
    let page = "# A `b-c`: d, e_f!\n[x](y.md#z) `[no](code)` [u](v)\n```sh\n# no heading, [no](link)\n```\n";
    assert_eq!(anchors(page), BTreeSet::from(["a-b-c-d-e_f".to_owned()]));
    assert_eq!(links(page), ["y.md#z", "v"]);
}

/// What the first page of a stranger may cost.
#[test]
fn the_readme_is_short() {
    let lines = read(Path::new("README.md")).lines().count();
    assert!(lines <= 150, "README.md has {lines} lines: `docs/` takes the rest");
}
