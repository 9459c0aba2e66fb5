//! A filter from its JSON, with everything that is wrong. Read from raw text, level by level, so
//! that numbers keep their digits.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::value::{Constant, Number};
use super::{
    Condition, InvalidFilter, MAX_CONDITIONS, MAX_DEPTH, MAX_FILTER_BYTES, MAX_PARTS, MAX_PATHS,
    Path, Test,
};

type Members<'a> = BTreeMap<String, &'a RawValue>;

/// The paths and conditions of `filter`.
pub(super) fn parse(filter: &RawValue) -> Result<(Vec<Path>, Condition), Vec<InvalidFilter>> {
    let mut parser = Parser { paths: Vec::new(), conditions: 0, errors: Vec::new() };
    let length = filter.get().len();
    if length > MAX_FILTER_BYTES {
        let message = format!("has {length} bytes; at most {MAX_FILTER_BYTES} are taken");
        return Err(vec![InvalidFilter { at: String::new(), message }]);
    }
    let condition = parser.all_of(filter, "", 1);
    if parser.conditions > MAX_CONDITIONS {
        let message = format!("has more than {MAX_CONDITIONS} conditions and entries of lists");
        parser.errors.push(InvalidFilter { at: String::new(), message });
    }
    match condition {
        Some(condition) if parser.errors.is_empty() => Ok((parser.paths, condition)),
        _ => Err(parser.errors),
    }
}

struct Parser {
    paths: Vec<Path>,
    conditions: usize,
    errors: Vec<InvalidFilter>,
}

impl Parser {
    /// Notes what is wrong at a place.
    fn wrong<T>(&mut self, at: &str, message: impl Into<String>) -> Option<T> {
        self.errors.push(InvalidFilter { at: at.to_owned(), message: message.into() });
        None
    }

    /// An object of conditions.
    fn all_of(&mut self, raw: &RawValue, at: &str, depth: usize) -> Option<Condition> {
        let members = self.members(raw, at, "conditions", depth)?;
        let all = members.into_iter().map(|(key, value)| {
            let at = below(at, &key);
            match key.as_str() {
                "$and" => self.each_of(value, &at, depth + 1).map(Condition::All),
                "$or" => self.each_of(value, &at, depth + 1).map(Condition::Any),
                "$not" => self.all_of(value, &at, depth + 1).map(not),
                _ if key.starts_with('$') => self.wrong(
                    &at,
                    "stands where a path or $and, $or, $not is expected; operators such as $gt \
                     stand below a path: {\"results_count\":{\"$gt\":100}}",
                ),
                path => self.at_path(path, value, &at, depth),
            }
        });
        all.collect::<Vec<_>>().into_iter().collect::<Option<Box<[_]>>>().map(Condition::All)
    }

    /// A list of objects of conditions.
    fn each_of(&mut self, raw: &RawValue, at: &str, depth: usize) -> Option<Box<[Condition]>> {
        let Some(list) = list(raw).filter(|list| !list.is_empty()) else {
            return self.wrong(at, "must be a list of at least one object of conditions");
        };
        let each = list.into_iter().enumerate();
        let each = each.map(|(i, entry)| self.all_of(entry, &format!("{at}[{i}]"), depth));
        each.collect::<Vec<_>>().into_iter().collect()
    }

    /// The number of the path with these keys, which is added if it is new; `None` when there is
    /// no room.
    fn number(&mut self, keys: &[&str]) -> Option<usize> {
        let same = |path: &Path| path.iter().map(AsRef::as_ref).eq(keys.iter().copied());
        self.paths.iter().position(same).or_else(|| {
            (self.paths.len() < MAX_PATHS).then(|| {
                self.paths.push(keys.iter().map(|key| Box::from(*key)).collect());
                self.paths.len() - 1
            })
        })
    }

    /// What is asked of the value at a path.
    fn at_path(&mut self, path: &str, raw: &RawValue, at: &str, depth: usize) -> Option<Condition> {
        let keys: Vec<&str> = path.split('.').collect();
        if keys.iter().any(|key| key.is_empty() || key.starts_with('$')) {
            return self.wrong(at, "must be a path such as summary.avg_sentiment");
        }
        if keys.len() > MAX_PARTS {
            return self.wrong(at, format!("has more than {MAX_PARTS} parts"));
        }
        let Some(number) = self.number(&keys) else {
            return self.wrong(at, format!("is one path too many; at most {MAX_PATHS} differ"));
        };
        match raw.get().as_bytes()[0] {
            b'{' => self.operators(number, raw, at, depth),
            b'[' => self.wrong(at, "must be one value; one of several is {\"$in\":[…]}"),
            _ => self.constant(raw, at).map(|equal| Condition::Of(number, one_of([equal]))),
        }
    }

    /// An object of operators, all of which must hold.
    fn operators(
        &mut self,
        path: usize,
        raw: &RawValue,
        at: &str,
        depth: usize,
    ) -> Option<Condition> {
        let members = self.members(raw, at, "operators", depth)?;
        let all = members
            .into_iter()
            .map(|(name, value)| self.operator(path, &name, value, &below(at, &name), depth));
        all.collect::<Vec<_>>().into_iter().collect::<Option<Box<[_]>>>().map(Condition::All)
    }

    fn operator(
        &mut self,
        path: usize,
        name: &str,
        raw: &RawValue,
        at: &str,
        depth: usize,
    ) -> Option<Condition> {
        let of = |test| Condition::Of(path, test);
        Some(match name {
            "$eq" => of(one_of([self.constant(raw, at)?])),
            "$ne" => not(of(one_of([self.constant(raw, at)?]))),
            "$in" => of(self.constants(raw, at)?),
            "$nin" => not(of(self.constants(raw, at)?)),
            "$lt" => of(Test::Less(self.ordered(raw, at)?)),
            "$gt" => of(Test::Greater(self.ordered(raw, at)?)),
            "$lte" => self.or_equal(path, Test::Less, raw, at)?,
            "$gte" => self.or_equal(path, Test::Greater, raw, at)?,
            "$exists" => match raw.get() {
                "true" => of(Test::Exists),
                "false" => not(of(Test::Exists)),
                _ => return self.wrong(at, "must be true or false"),
            },
            "$prefix" => match self.constant(raw, at)? {
                Constant::Text(prefix) => of(Test::Prefix(prefix)),
                _ => return self.wrong(at, "must be a string"),
            },
            "$not" => not(self.operators(path, raw, at, depth + 1)?),
            _ if name.starts_with('$') => {
                return self.wrong(
                    at,
                    "is no operator; there are $eq, $ne, $in, $nin, $gt, $gte, $lt, $lte, \
                     $exists, $prefix and $not",
                );
            }
            _ => {
                return self.wrong(at, "is no operator; fields below fields are written with dots");
            }
        })
    }

    fn or_equal(
        &mut self,
        path: usize,
        test: fn(Constant) -> Test,
        raw: &RawValue,
        at: &str,
    ) -> Option<Condition> {
        let constant = self.ordered(raw, at)?;
        let either = [test(constant.clone()), one_of([constant])];
        Some(Condition::Any(either.map(|test| Condition::Of(path, test)).into()))
    }

    /// A constant that others are more or less than.
    fn ordered(&mut self, raw: &RawValue, at: &str) -> Option<Constant> {
        match self.constant(raw, at)? {
            constant @ (Constant::Number(_) | Constant::Text(_)) => Some(constant),
            _ => self.wrong(at, "must be a number or a string"),
        }
    }

    fn constants(&mut self, raw: &RawValue, at: &str) -> Option<Test> {
        let Some(list) = list(raw).filter(|list| !list.is_empty()) else {
            return self.wrong(at, "must be a list of at least one value");
        };
        let each = list.into_iter().enumerate();
        let each = each.map(|(i, entry)| self.constant(entry, &format!("{at}[{i}]")));
        let all: Option<Vec<_>> = each.collect::<Vec<_>>().into_iter().collect();
        all.map(one_of)
    }

    fn constant(&mut self, raw: &RawValue, at: &str) -> Option<Constant> {
        self.conditions += 1;
        let text = raw.get();
        match text.as_bytes()[0] {
            b'n' => Some(Constant::Null),
            b't' => Some(Constant::Bool(true)),
            b'f' => Some(Constant::Bool(false)),
            b'"' => match serde_json::from_str::<String>(text) {
                Ok(text) => Some(Constant::Text(text.into())),
                Err(_) => self.wrong(at, "is no text"),
            },
            b'{' | b'[' => self.wrong(at, "must be a string, a number, true, false or null"),
            _ => Number::read(text.as_bytes()).map(Constant::Number),
        }
    }

    /// The members of an object that has some.
    fn members<'a>(
        &mut self,
        raw: &'a RawValue,
        at: &str,
        what: &str,
        depth: usize,
    ) -> Option<Members<'a>> {
        if depth > MAX_DEPTH {
            return self.wrong(at, format!("is nested deeper than {MAX_DEPTH} levels"));
        }
        self.conditions += 1;
        match serde_json::from_str::<Members<'a>>(raw.get()) {
            Ok(members) if !members.is_empty() => Some(members),
            _ => self.wrong(at, format!("must be an object with at least one of its {what}")),
        }
    }
}

fn list(raw: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(raw.get()).ok()
}

fn one_of(constants: impl IntoIterator<Item = Constant>) -> Test {
    Test::In(constants.into_iter().collect())
}

fn not(condition: Condition) -> Condition {
    Condition::Not(Box::new(condition))
}

fn below(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
}
