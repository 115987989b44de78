//! The page `PROTOCOL.md` lists every message and every field, and no others (C1, C11).

use std::collections::{BTreeMap, BTreeSet};

use super::{from_worker, to_worker};
use crate::sample::Source;
use crate::{Codec, FromWorker, ToWorker, Value};

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../PROTOCOL.md"));

/// The fields of one kind of map: in all samples, and in any.
#[derive(Debug, Default, PartialEq)]
struct Fields {
    required: BTreeSet<String>,
    all: BTreeSet<String>,
}

/// What the page says of each heading of the fourth level; of a name that stands twice, both.
fn documented() -> Vec<(String, Fields)> {
    let mut sections: Vec<(String, Fields)> = Vec::new();
    for line in PAGE.lines() {
        if let Some(heading) = line.strip_prefix("#### ") {
            sections.push((heading.trim_matches('`').to_owned(), Fields::default()));
        } else if line.starts_with("##") {
            sections.push((String::new(), Fields::default()));
        } else if let (Some(row), Some((_, fields))) = (line.strip_prefix("| "), sections.last_mut()) {
            let (cell, _) = row.split_once(" |").unwrap();
            if let Some(name) =
                cell.trim_matches('*').strip_prefix('`').and_then(|cell| cell.strip_suffix('`'))
            {
                fields.all.insert(name.to_owned());
                if cell.starts_with("**") {
                    fields.required.insert(name.to_owned());
                }
            }
        }
    }
    sections.retain(|(name, _)| !name.is_empty());
    sections
}

/// Adds the keys of a map that was seen to what is known of its kind, and looks for maps of known kinds in it.
fn see(kind: &str, map: &Value, seen: &mut BTreeMap<String, Fields>) {
    let entries = map.as_map().unwrap();
    let keys: BTreeSet<String> = entries.iter().map(|(key, _)| key.as_str().unwrap().to_owned()).collect();
    let first = !seen.contains_key(kind);
    let fields = seen.entry(kind.to_owned()).or_default();
    fields.required = if first { keys.clone() } else { &fields.required & &keys };
    fields.all.extend(keys);
    for (key, value) in entries {
        match (kind, key.as_str().unwrap()) {
            ("init", "limits") => see("limits", value, seen),
            ("error", "exception") | ("exception", "cause" | "context") => see("exception", value, seen),
            ("exception", "exceptions") => {
                value.as_list().unwrap().iter().for_each(|one| see("exception", one, seen));
            }
            ("exception", "frames") => {
                value.as_list().unwrap().iter().for_each(|one| see("frame", one, seen));
            }
            _plain => {}
        }
    }
}

fn seen() -> BTreeMap<String, Fields> {
    let mut seen = BTreeMap::new();
    for seed in 0..200 {
        let to = ToWorker::samples(&mut Source::new(seed));
        let from = FromWorker::samples(&mut Source::new(seed));
        let to = to.iter().map(|message| to_worker(Codec::MessagePack, message));
        let from = from.iter().map(|message| from_worker(Codec::MessagePack, message));
        for payload in to.chain(from) {
            let Value::Map(mut entries) = rmp_serde::from_slice(&payload).unwrap() else {
                panic!("a map was written")
            };
            let (_, kind) = entries.remove(0);
            see(kind.as_str().unwrap(), &Value::Map(entries), &mut seen);
        }
    }
    seen
}

#[test]
fn the_page_lists_every_message_with_every_field() {
    let seen = seen();
    let documented = documented();
    for (name, fields) in &documented {
        assert_eq!(Some(fields), seen.get(name), "`{name}` in PROTOCOL.md, and in the codec");
    }
    for name in seen.keys() {
        assert!(
            documented.iter().any(|(documented, _)| documented == name),
            "`{name}` is not in PROTOCOL.md"
        );
    }
}
