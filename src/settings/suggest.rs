//! What somebody may have meant who wrote an unknown key.

use super::keys::{KEYS, SECTIONS};

/// Advice for a key that is not known: the nearest one, or all that are.
pub(super) fn instead_of(unknown: &str) -> String {
    let (section, name) = unknown.split_once('.').unwrap_or(("", unknown));
    let nearest = KEYS
        .iter()
        .map(|key| {
            let bare = key.path.split_once('.').map_or(key.path, |(_, bare)| bare);
            // The right name in the wrong section is nearer than a wrong name.
            (
                distance(unknown, key.path)
                    .min(distance(name, bare) + usize::from(!key.path.starts_with(section))),
                key.path,
            )
        })
        .chain(
            SECTIONS
                .iter()
                .map(|(known, _)| (distance(unknown, known).min(distance(name, known) + 1), *known)),
        )
        .min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((distance, path)) if distance <= (name.chars().count() / 2).max(2) => {
            let is_section = SECTIONS.iter().any(|(known, _)| *known == path);
            if is_section {
                format!("did you mean the section `[{path}]`?")
            } else {
                format!("did you mean `{path}`?")
            }
        }
        _ => format!("known are {}", known_near(section)),
    }
}

/// The keys of a section, or the sections.
fn known_near(section: &str) -> String {
    let keys: Vec<String> = KEYS
        .iter()
        .filter(|key| key.path.split('.').next() == Some(section))
        .map(|key| format!("`{}`", key.path))
        .collect();
    if keys.is_empty() {
        let sections: Vec<String> = SECTIONS.iter().map(|(known, _)| format!("`[{known}]`")).collect();
        return format!("the sections {}", sections.join(", "));
    }
    keys.join(", ")
}

/// Letters to put in, take out or change, and neighbours to swap (optimal string alignment).
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut best = (rows[i][j] + usize::from(a != b)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_letters_and_swaps() {
        for (from, to, expected) in [
            ("", "", 0),
            ("grace", "grace", 0),
            ("gracee", "grace", 1),
            ("garce", "grace", 1),
            ("", "abc", 3),
        ] {
            assert_eq!(distance(from, to), expected, "{from} to {to}");
        }
    }

    #[test]
    fn the_nearest_key_is_named_also_from_another_section() {
        for (unknown, expected) in [
            ("pool.max_session", "did you mean `pool.max_sessions`?"),
            ("pool.warmup_code", "did you mean `pool.warmup`?"),
            ("min_idle", "did you mean `pool.min_idle`?"),
            ("pool.max_memory", "did you mean `recycle.max_memory`?"),
            ("recycle.windwo", "did you mean `restart.window`?"),
            ("pol", "did you mean the section `[pool]`?"),
        ] {
            assert_eq!(instead_of(unknown), expected, "for {unknown}");
        }
        assert!(instead_of("recycle.zzzzzzzz").starts_with("known are `recycle.max_executions`, "));
        assert_eq!(
            instead_of("zzz"),
            "known are the sections `[worker]`, `[pool]`, `[restart]`, `[recycle]`"
        );
    }
}
