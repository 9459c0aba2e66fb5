//! Finds the values at many paths in one pass over raw JSON.

use std::collections::HashMap;

use super::value::text_of;

/// Paths, as a tree of keys. A parent's number is less than its children's.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    nodes: Vec<Node>,
    /// The node in which each path ends.
    ends: Vec<usize>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    parent: usize,
    below: HashMap<Box<[u8]>, usize>,
    /// The path that ends here.
    path: Option<usize>,
}

/// Where a value stands: from its first byte to behind its last.
type Place = Option<(usize, usize)>;

/// The node of the object itself.
const ROOT: usize = 0;

impl Paths {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::default()], ends: Vec::new() }
    }

    /// The number of the path with these keys, which is added if it is new.
    pub(super) fn number<T: AsRef<str>>(&mut self, keys: &[T]) -> usize {
        let end = keys.iter().fold(ROOT, |node, key| self.below(node, key.as_ref()));
        *self.nodes[end].path.get_or_insert_with(|| {
            self.ends.push(end);
            self.ends.len() - 1
        })
    }

    /// The node of `key` below `parent`, made if it is missing.
    fn below(&mut self, parent: usize, key: &str) -> usize {
        if let Some(node) = self.nodes[parent].below.get(key.as_bytes()) {
            return *node;
        }
        let node = self.nodes.len();
        self.nodes[parent].below.insert(key.as_bytes().into(), node);
        self.nodes.push(Node { parent, ..Node::default() });
        node
    }

    /// What stands at each path in `data`, a JSON object, by the path's number; `None` where there
    /// is nothing. Of a key that stands twice the last counts, as it does for nearly every reader
    /// of JSON.
    pub(super) fn find_in<'a>(&self, data: &'a [u8]) -> Vec<Option<&'a [u8]>> {
        let mut places: Vec<Place> = vec![None; self.nodes.len()];
        Scanner::after(data, b'{').object(self, ROOT, &mut places);
        places[ROOT] = Some((0, data.len()));
        // What stood in an object whose key came again stands outside of the one that counts.
        for node in 1..places.len() {
            let parent = places[self.nodes[node].parent];
            places[node] = places[node]
                .filter(|(start, _)| parent.is_some_and(|(from, to)| (from..to).contains(start)));
        }
        let value = |end: &usize| places[*end].and_then(|(from, to)| data.get(from..to));
        self.ends.iter().map(value).collect()
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

    /// The rest of the object at `node`. Goes no deeper than paths do.
    fn object(&mut self, paths: &Paths, node: usize, places: &mut [Place]) {
        let below = &paths.nodes[node].below;
        loop {
            self.skip(|b| b.is_ascii_whitespace() || b == b',');
            if self.peek() != Some(b'"') {
                self.at += 1;
                return;
            }
            let key = self.value();
            let key = &key[1..key.len().max(2) - 1];
            self.skip(|b| b.is_ascii_whitespace() || b == b':');
            let start = self.at;
            match below.get(&*text_of(key)) {
                Some(&child) => {
                    if !paths.nodes[child].below.is_empty() && self.peek() == Some(b'{') {
                        self.at += 1;
                        self.object(paths, child, places);
                    } else {
                        self.value();
                    }
                    places[child] = Some((start, self.at));
                }
                None => {
                    self.value();
                }
            }
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
