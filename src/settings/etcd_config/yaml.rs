//! The first document of a YAML text, as far as etcd's settings go: maps, text and truth values.
//!
//! It is kept as the parser's events in a row, and a node is a place in it. An alias is a jump, never a copy: nine of them in
//! each of nine lists cost nothing here.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use crate::sys::decimal;

/// A text that was taken apart.
#[derive(Debug)]
pub(super) struct Document<'t> {
    events: Vec<(Event<'t>, Marker)>,
    /// Where what an alias stands for begins.
    anchors: BTreeMap<usize, usize>,
}

/// A value, or a name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<'d> {
    document: &'d Document<'d>,
    at: usize,
    line: usize,
}

/// What a node is instead of what is wanted.
#[derive(Debug)]
pub(super) struct Wrong {
    line: usize,
    why: &'static str,
}

impl Wrong {
    /// For people: `name` is whose value it is.
    pub(super) fn of(&self, name: &str) -> String {
        format!("line {}: {name} {}", self.line, self.why)
    }
}

impl<'t> Document<'t> {
    /// # Errors
    /// Why this is no YAML.
    pub(super) fn parse(text: &'t str) -> Result<Self, String> {
        let (mut events, mut anchors) = (Vec::new(), BTreeMap::new());
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|e| {
                format!("line {}, column {}: {}", e.marker().line(), e.marker().col() + 1, e.info())
            })?;
            match &event {
                Event::DocumentEnd => break,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => continue,
                Event::Scalar(_, _, id, _) | Event::SequenceStart(id, _) | Event::MappingStart(id, _)
                    if *id > 0 =>
                {
                    anchors.insert(*id, events.len());
                }
                _ => {}
            }
            events.push((event, span.start));
        }
        Ok(Self { events, anchors })
    }

    /// The outermost value, if there is one.
    pub(super) fn root(&self) -> Option<Node<'_>> {
        self.node(0).map(|(node, _)| node)
    }

    /// The node that begins at an event, and the event behind it.
    fn node(&self, at: usize) -> Option<(Node<'_>, usize)> {
        let (event, marker) = self.events.get(at)?;
        let of = |begins: usize| Node { document: self, at: begins, line: marker.line() };
        Some(match event {
            Event::Alias(id) => (of(*self.anchors.get(id)?), at + 1),
            Event::Scalar(..) => (of(at), at + 1),
            Event::SequenceStart(..) | Event::MappingStart(..) => (of(at), self.behind(at)),
            _ => return None,
        })
    }

    /// The event behind a list or map.
    fn behind(&self, start: usize) -> usize {
        let (mut depth, mut at) = (0_usize, start);
        while let Some((event, _)) = self.events.get(at) {
            at += 1;
            match event {
                Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
                Event::SequenceEnd | Event::MappingEnd => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        at
    }
}

impl<'d> Node<'d> {
    fn event(self) -> Option<&'d Event<'d>> {
        self.document.events.get(self.at).map(|(event, _)| event)
    }

    pub(super) fn wrong(self, why: &'static str) -> Wrong {
        Wrong { line: self.line, why }
    }

    /// A scalar's text, and whether it stands without quotes and tag.
    fn scalar(self) -> Result<(&'d str, bool), Wrong> {
        match self.event() {
            Some(Event::Scalar(text, style, _, tag)) => match tag.as_deref() {
                None => Ok((text, *style == ScalarStyle::Plain)),
                Some(tag) if is_text(tag) => Ok((text, false)),
                Some(_) => {
                    Err(self.wrong("has a tag, which is not supported here: write the value without it"))
                }
            },
            Some(Event::SequenceStart(..)) => {
                Err(self.wrong("is a list, but etcd takes one string there, with commas in it"))
            }
            _ => Err(self.wrong("is a map, but etcd takes one string there")),
        }
    }

    /// Whether nothing is written.
    pub(super) fn is_null(self) -> bool {
        self.scalar().is_ok_and(|(text, plain)| plain && ["", "~", "null", "Null", "NULL"].contains(&text))
    }

    /// Whether it is the name that merges another map into the one it stands in.
    pub(super) fn is_merge(self) -> bool {
        self.scalar().is_ok_and(|(text, plain)| plain && text == "<<")
    }

    /// What etcd takes as text; `None` if nothing is written.
    pub(super) fn text(self) -> Result<Option<String>, Wrong> {
        let (text, plain) = self.scalar()?;
        if self.is_null() {
            return Ok(None);
        }
        Ok(Some(match truth(text) {
            Some(truth) if plain => truth.to_string(),
            _ if plain && is_rewritten(text) => {
                return Err(self.wrong("is a number that YAML would rewrite: put it in quotes"));
            }
            _ => text.to_owned(),
        }))
    }

    /// On or off; `None` if nothing is written.
    pub(super) fn truth(self) -> Result<Option<bool>, Wrong> {
        if self.is_null() {
            return Ok(None);
        }
        let (text, plain) = self.scalar()?;
        let truth = truth(text).filter(|_| plain);
        truth.map(Some).ok_or_else(|| self.wrong("is neither true nor false"))
    }

    /// Names and values of a map, in their order.
    pub(super) fn pairs(self) -> Result<Vec<(Node<'d>, Node<'d>)>, Wrong> {
        let Some(Event::MappingStart(..)) = self.event() else {
            return Err(self.wrong("is not a map of names and values"));
        };
        let (mut all, mut at) = (Vec::new(), self.at + 1);
        while let Some((key, behind)) = self.document.node(at) {
            let Some((value, behind)) = self.document.node(behind) else { break };
            all.push((key, value));
            at = behind;
        }
        Ok(all)
    }
}

/// `!!str`, and `!`.
fn is_text(tag: &Tag) -> bool {
    (tag.is_yaml_core_schema() && tag.suffix == "str") || (tag.handle.is_empty() && tag.suffix == "!")
}

/// YAML 1.1, as etcd reads it.
fn truth(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// `1`, `1.`, `.5`, `1.5e-3`.
pub(super) fn is_decimal(text: &str) -> bool {
    decimal::digits(text)
        .is_some_and(|(whole, part)| !(whole.is_empty() && part.unwrap_or_default().is_empty()))
}

/// Whether etcd would take this for a number and write it in another way: `0x10`, `007`, `1_000`, `1e3`, `1.50`.
fn is_rewritten(text: &str) -> bool {
    let digits = text.replace('_', "");
    let bare = digits.strip_prefix(['+', '-']).unwrap_or(&digits);
    let based = |prefix: &str, radix| {
        bare.strip_prefix(prefix).is_some_and(|rest| u64::from_str_radix(rest, radix).is_ok())
    };
    let word = [".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"].contains(&bare);
    let is_number = based("0x", 16) || based("0b", 2) || based("0o", 8) || word || is_decimal(bare);
    is_number && !text.parse::<i64>().is_ok_and(|n| n.to_string() == text)
}
