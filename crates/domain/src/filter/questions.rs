//! What many filters ask of the value at one path. The value, or each entry of a list, is read
//! once and looked up, so that its cost does not grow with the number of constants.

use std::borrow::Cow;
use std::collections::HashMap;

use super::Test;
use super::value::{Constant, Number, Scalar, elements};

/// The number of a test among those of all filters that are asked together.
pub(super) type TestNumber = usize;

/// Tests that pass together, by the place of their list in [`Questions::sets`].
type Set = usize;

/// The tests of one path.
#[derive(Clone, Debug, Default)]
pub(super) struct Questions {
    exist: Vec<TestNumber>,
    /// What equality with a constant, or a prefix, lets pass.
    sets: Vec<Vec<TestNumber>>,
    null: Option<Set>,
    no: Option<Set>,
    yes: Option<Set>,
    texts: HashMap<Box<[u8]>, Set>,
    wholes: HashMap<i128, Set>,
    /// Constants that are no whole numbers, by their bits.
    doubles: HashMap<u64, Set>,
    /// Whole constants by the bits of their double, which is what a double is compared with.
    rounded: HashMap<u64, Set>,
    /// In the order of their bytes, each once.
    prefixes: Vec<(Box<[u8]>, Set)>,
    less: Vec<(Constant, TestNumber)>,
    greater: Vec<(Constant, TestNumber)>,
}

impl Questions {
    /// Adds a test under its number.
    pub(super) fn add(&mut self, test: &Test, number: TestNumber) {
        match test {
            Test::Exists => self.exist.push(number),
            Test::In(constants) => {
                for constant in constants {
                    self.add_equal(constant, number);
                }
            }
            Test::Less(constant) => self.less.push((constant.clone(), number)),
            Test::Greater(constant) => self.greater.push((constant.clone(), number)),
            Test::Prefix(prefix) => self.add_prefix(prefix.as_bytes(), number),
        }
    }

    fn add_equal(&mut self, constant: &Constant, number: TestNumber) {
        let sets = &mut self.sets;
        let mut new = || {
            sets.push(Vec::new());
            sets.len() - 1
        };
        let mut joined = Vec::with_capacity(2);
        match constant {
            Constant::Null => joined.push(*self.null.get_or_insert_with(new)),
            Constant::Bool(false) => joined.push(*self.no.get_or_insert_with(new)),
            Constant::Bool(true) => joined.push(*self.yes.get_or_insert_with(new)),
            Constant::Text(text) => {
                joined.push(*self.texts.entry(text.as_bytes().into()).or_insert_with(new));
            }
            Constant::Number(Number::Whole(whole)) => {
                joined.push(*self.wholes.entry(*whole).or_insert_with(&mut new));
                let bits = Number::Whole(*whole).double_bits();
                joined.push(*self.rounded.entry(bits).or_insert_with(new));
            }
            Constant::Number(double) => {
                joined.push(*self.doubles.entry(double.double_bits()).or_insert_with(new));
            }
        }
        for set in joined {
            self.sets[set].push(number);
        }
    }

    fn add_prefix(&mut self, prefix: &[u8], number: TestNumber) {
        let found = self.prefixes.binary_search_by(|(known, _)| (**known).cmp(prefix));
        let set = match found {
            Ok(at) => self.prefixes[at].1,
            Err(at) => {
                self.sets.push(Vec::new());
                self.prefixes.insert(at, (prefix.into(), self.sets.len() - 1));
                self.sets.len() - 1
            }
        };
        self.sets[set].push(number);
    }

    /// Marks in `passed` the tests that `value` passes. A list passes a test when one of its
    /// entries does.
    pub(super) fn ask(&self, value: &[u8], passed: &mut [bool]) {
        for number in &self.exist {
            passed[*number] = true;
        }
        let mut seen = Seen { hit: vec![false; self.sets.len()], ..Seen::default() };
        if value.starts_with(b"[") {
            elements(value).for_each(|entry| self.look_at(entry, &mut seen));
        } else {
            self.look_at(value, &mut seen);
        }
        for (set, _) in self.sets.iter().zip(&seen.hit).filter(|(_, hit)| **hit) {
            set.iter().for_each(|number| passed[*number] = true);
        }
        for (constant, number) in &self.less {
            passed[*number] |= seen.has_less_than(constant);
        }
        for (constant, number) in &self.greater {
            passed[*number] |= seen.has_more_than(constant);
        }
    }

    fn look_at<'a>(&self, raw: &'a [u8], seen: &mut Seen<'a>) {
        match Scalar::read(raw) {
            None => {}
            Some(Scalar::Null) => seen.note(self.null),
            Some(Scalar::Bool(yes)) => seen.note(if yes { self.yes } else { self.no }),
            Some(Scalar::Number(number)) => {
                let bits = number.double_bits();
                seen.note(self.doubles.get(&bits).copied());
                seen.note(match number {
                    Number::Whole(whole) => self.wholes.get(&whole).copied(),
                    Number::Double(_) => self.rounded.get(&bits).copied(),
                });
                seen.note_number(number);
            }
            Some(Scalar::Text(text)) => {
                seen.note(self.texts.get(&*text).copied());
                self.note_prefixes(&text, seen);
                seen.note_text(text);
            }
        }
    }

    /// Notes every prefix that `text` begins with: each byte narrows the range of those that have
    /// begun like it so far.
    fn note_prefixes(&self, text: &[u8], seen: &mut Seen<'_>) {
        let mut left = self.prefixes.as_slice();
        for depth in 0..=text.len() {
            if let Some((prefix, set)) = left.first()
                && prefix.len() == depth
            {
                seen.note(Some(*set));
                left = &left[1..];
            }
            let (Some(byte), Some((first, _)), Some((last, _))) =
                (text.get(depth), left.first(), left.last())
            else {
                return;
            };
            if first[depth] != *byte || last[depth] != *byte {
                let from = left.partition_point(|(prefix, _)| prefix[depth] < *byte);
                let to = left.partition_point(|(prefix, _)| prefix[depth] <= *byte);
                left = &left[from..to];
            }
        }
    }
}

/// A text's bytes, borrowed where it has no escapes.
type Text<'a> = Cow<'a, [u8]>;

/// What the entries of one value were.
#[derive(Default)]
struct Seen<'a> {
    /// The sets of which a constant or prefix was met.
    hit: Vec<bool>,
    /// The least and the most of each kind: if any entry is less than a constant, the least is.
    wholes: Option<(Number, Number)>,
    doubles: Option<(Number, Number)>,
    texts: Option<(Text<'a>, Text<'a>)>,
}

impl<'a> Seen<'a> {
    fn note(&mut self, set: Option<Set>) {
        if let Some(set) = set {
            self.hit[set] = true;
        }
    }

    fn note_number(&mut self, number: Number) {
        let range = match number {
            Number::Whole(_) => &mut self.wholes,
            Number::Double(_) => &mut self.doubles,
        };
        let (least, most) = range.get_or_insert((number, number));
        if number.cmp(*least).is_some_and(|order| order.is_lt()) {
            *least = number;
        }
        if number.cmp(*most).is_some_and(|order| order.is_gt()) {
            *most = number;
        }
    }

    fn note_text(&mut self, text: Text<'a>) {
        match &mut self.texts {
            None => self.texts = Some((text.clone(), text)),
            Some((least, _)) if text < *least => *least = text,
            Some((_, most)) if text > *most => *most = text,
            Some(_) => {}
        }
    }

    fn numbers(&self) -> impl Iterator<Item = (Number, Number)> {
        self.wholes.into_iter().chain(self.doubles)
    }

    fn has_less_than(&self, constant: &Constant) -> bool {
        match constant {
            Constant::Number(constant) => {
                self.numbers().any(|(least, _)| least.cmp(*constant).is_some_and(|o| o.is_lt()))
            }
            Constant::Text(constant) => {
                self.texts.as_ref().is_some_and(|(least, _)| **least < *constant.as_bytes())
            }
            Constant::Null | Constant::Bool(_) => false,
        }
    }

    fn has_more_than(&self, constant: &Constant) -> bool {
        match constant {
            Constant::Number(constant) => {
                self.numbers().any(|(_, most)| most.cmp(*constant).is_some_and(|o| o.is_gt()))
            }
            Constant::Text(constant) => {
                self.texts.as_ref().is_some_and(|(_, most)| **most > *constant.as_bytes())
            }
            Constant::Null | Constant::Bool(_) => false,
        }
    }
}
