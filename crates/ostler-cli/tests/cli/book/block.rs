//! The blocks of code of a page.

/// One block between two fences.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// What stands behind the opening fence.
    pub(super) info: String,
    pub(super) text: String,
    /// The line of the opening fence.
    pub(super) line: usize,
}

impl Block {
    /// The first word of each line.
    pub(super) fn programs(&self) -> String {
        let words: Vec<_> = self.text.lines().filter_map(|line| line.split_whitespace().next()).collect();
        words.join(" ")
    }
}

/// All blocks of a page, in order. Panics at a fence that is indented or not closed: such a block would not be checked.
pub(super) fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (line, text) in (1..).zip(page.lines()) {
        match (open.take(), text.strip_prefix("```")) {
            (None, Some(info)) => open = Some(Block { info: info.to_owned(), text: String::new(), line }),
            (None, None) => assert!(!text.trim_start().starts_with("```"), "line {line}: an indented fence"),
            (Some(block), Some("")) => found.push(block),
            (Some(mut block), _code) => {
                block.text.push_str(text);
                block.text.push('\n');
                open = Some(block);
            }
        }
    }
    assert_eq!(open, None, "a block is not closed");
    found
}

#[test]
fn blocks_are_found_with_their_marks_and_lines() {
    let page = "text\n```sh,exit-4\nostler run\n  | cat\n```\n\n```text\n```\n";
    let block = |info: &str, text: &str, line| Block { info: info.into(), text: text.into(), line };
    let found = blocks(page);
    assert_eq!(found, [block("sh,exit-4", "ostler run\n  | cat\n", 2), block("text", "", 7)]);
    assert_eq!(found[0].programs(), "ostler |");
}
