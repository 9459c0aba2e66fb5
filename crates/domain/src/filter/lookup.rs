//! Finds the values at a filter's paths in one pass over raw JSON.

use super::MAX_PATHS;
use super::value::is_text;

/// What stands at each path, by its number; `None` where there is nothing.
pub(super) type Found<'a> = [Option<&'a [u8]>; MAX_PATHS];

/// The paths of a filter, as a tree of keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    roots: Vec<Node>,
    count: usize,
}

#[derive(Clone, Debug)]
struct Node {
    key: Box<str>,
    /// The path that ends here.
    number: Option<usize>,
    below: Vec<Node>,
}

impl Paths {
    /// The number of the path with these keys, which is added if it is new; `None` when there is
    /// no room.
    pub(super) fn number(&mut self, keys: &[&str]) -> Option<usize> {
        let (last, first) = keys.split_last()?;
        let level = first.iter().fold(&mut self.roots, |level, key| &mut at(level, key).below);
        let end = at(level, last);
        if end.number.is_none() && self.count < MAX_PATHS {
            end.number = Some(self.count);
            self.count += 1;
        }
        end.number
    }

    /// What stands at each path in `data`, a JSON object. Of a key that stands twice the last
    /// counts, as it does for nearly every reader of JSON.
    pub(super) fn find_in<'a>(&self, data: &'a [u8]) -> Found<'a> {
        let mut found = [None; MAX_PATHS];
        Scanner::after(data, b'{').object(&self.roots, &mut found);
        found
    }
}

/// The node of `key`, made if it is missing.
fn at<'a>(level: &'a mut Vec<Node>, key: &str) -> &'a mut Node {
    let index = level.iter().position(|node| *node.key == *key).unwrap_or_else(|| {
        level.push(Node { key: key.into(), number: None, below: Vec::new() });
        level.len() - 1
    });
    &mut level[index]
}

/// Forgets what was found at and below `nodes`.
fn forget(nodes: &[Node], found: &mut Found<'_>) {
    for node in nodes {
        if let Some(number) = node.number {
            found[number] = None;
        }
        forget(&node.below, found);
    }
}

/// A place in well-formed JSON. On what is not it stops early, and never fails.
pub(super) struct Scanner<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// After the `opening` of `json`; at its end when it begins with anything else.
    pub(super) fn after(json: &'a [u8], opening: u8) -> Self {
        let at = json.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(json.len());
        let opened = json.get(at) == Some(&opening);
        Self { json, at: if opened { at + 1 } else { json.len() } }
    }

    /// The next entry of a list.
    pub(super) fn entry(&mut self) -> Option<&'a [u8]> {
        self.skip(|b| b.is_ascii_whitespace() || b == b',');
        (!matches!(self.peek()?, b']')).then(|| self.value())
    }

    /// The rest of an object, of which `nodes` are looked for. Goes no deeper than paths do.
    fn object(&mut self, nodes: &[Node], found: &mut Found<'a>) {
        loop {
            self.skip(|b| b.is_ascii_whitespace() || b == b',');
            if self.peek() != Some(b'"') {
                self.at += 1;
                return;
            }
            let key = self.value();
            let key = &key[1..key.len().max(2) - 1];
            self.skip(|b| b.is_ascii_whitespace() || b == b':');
            match nodes.iter().find(|node| is_text(key, &node.key)) {
                None => {
                    self.value();
                }
                Some(node) => self.member(node, found),
            }
        }
    }

    fn member(&mut self, node: &Node, found: &mut Found<'a>) {
        forget(&node.below, found);
        let start = self.at;
        if !node.below.is_empty() && self.peek() == Some(b'{') {
            self.at += 1;
            self.object(&node.below, found);
        } else {
            self.value();
        }
        if let Some(number) = node.number {
            found[number] = self.json.get(start..self.at);
        }
    }

    /// The value that begins here; goes behind it.
    fn value(&mut self) -> &'a [u8] {
        let start = self.at;
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'{' | b'[') => self.nested(),
            _ => self.skip(|b| !b.is_ascii_whitespace() && !matches!(b, b',' | b'}' | b']')),
        }
        self.at = self.at.min(self.json.len());
        &self.json[start.min(self.at)..self.at]
    }

    fn string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += 1 + usize::from(byte == b'\\');
            if byte == b'"' {
                return;
            }
        }
    }

    fn nested(&mut self) {
        let mut open = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.string();
                    continue;
                }
                b'{' | b'[' => open += 1,
                b'}' | b']' => open -= 1,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return;
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    fn skip(&mut self, more: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&more) {
            self.at += 1;
        }
    }
}
