//! JSON token by token, as deep as it may be: folders lie in folders without end in etcd's store, and what goes down a level by a
//! call ends at a limit, or with the stack.

use std::io::{BufRead, BufReader, Read};

use anyhow::{Context as _, Result, bail};

use super::decimal;

/// A piece of JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// `{`.
    Object,
    /// `[`.
    Array,
    /// Of the object or list that was begun last.
    End,
    /// The name of a field; what comes next is its value.
    Name(String),
    /// A text.
    Text(String),
    /// A number, `true`, `false` or `null`, as it is written.
    Plain(String),
}

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    Value,
    FirstOrEnd,
    MoreOrEnd,
    Nothing,
}

/// Reads tokens.
#[derive(Debug)]
pub struct Reader<R> {
    bytes: BufReader<R>,
    /// What is begun and has not ended; true for an object.
    open: Vec<bool>,
    awaits: Awaits,
}

impl<R: Read> Reader<R> {
    /// Of one value.
    pub fn new(from: R) -> Self {
        Self { bytes: BufReader::new(from), open: Vec::new(), awaits: Awaits::Value }
    }

    /// The next token; `None` behind the value.
    ///
    /// # Errors
    /// It cannot be read on, or it is no JSON.
    pub fn token(&mut self) -> Result<Option<Token>> {
        let Some(byte) = self.peek_behind_space()? else {
            return match self.awaits {
                Awaits::Nothing => Ok(None),
                _ => bail!("the JSON ends too early"),
            };
        };
        let in_object = self.open.last() == Some(&true);
        let ends = byte == if in_object { b'}' } else { b']' };
        match self.awaits {
            Awaits::Value => self.value(byte).map(Some),
            Awaits::FirstOrEnd | Awaits::MoreOrEnd if ends => {
                self.bytes.consume(1);
                self.open.pop();
                self.value_is_over();
                Ok(Some(Token::End))
            }
            Awaits::FirstOrEnd => self.element(in_object).map(Some),
            Awaits::MoreOrEnd => {
                self.expect(b',')?;
                self.element(in_object).map(Some)
            }
            Awaits::Nothing => bail!("there is more after the JSON"),
        }
    }

    /// The next token, where there has to be one.
    ///
    /// # Errors
    /// As [`Reader::token`], and the value is over.
    pub fn some(&mut self) -> Result<Token> {
        self.token()?.context("the JSON ends too early")
    }

    /// The beginning of an object that comes next.
    ///
    /// # Errors
    /// As [`Reader::token`], and it is another thing.
    pub fn object(&mut self) -> Result<()> {
        match self.some()? {
            Token::Object => Ok(()),
            other => bail!("{other:?} in place of an object"),
        }
    }

    /// The end: nothing but space comes next.
    ///
    /// # Errors
    /// As [`Reader::token`], and the value is not over, or there is more.
    pub fn end(&mut self) -> Result<()> {
        match self.token()? {
            None => Ok(()),
            Some(more) => bail!("{more:?} in place of the end of the JSON"),
        }
    }

    /// A text that comes next.
    ///
    /// # Errors
    /// As [`Reader::token`], and it is another thing.
    pub fn text(&mut self) -> Result<String> {
        match self.some()? {
            Token::Text(text) => Ok(text),
            other => bail!("{other:?} in place of a string"),
        }
    }

    /// A whole number that comes next.
    ///
    /// # Errors
    /// As [`Reader::token`], and it is another thing.
    pub fn number(&mut self) -> Result<u64> {
        match self.some()? {
            Token::Plain(text) => text.parse().with_context(|| format!("{text} in place of a number")),
            other => bail!("{other:?} in place of a number"),
        }
    }

    /// Passes over the value that comes next.
    ///
    /// # Errors
    /// As [`Reader::token`].
    pub fn skip(&mut self) -> Result<()> {
        let depth = self.open.len();
        loop {
            self.some()?;
            if self.open.len() <= depth {
                return Ok(());
            }
        }
    }

    fn element(&mut self, in_object: bool) -> Result<Token> {
        let byte = self.peek_behind_space()?.context("the JSON ends too early")?;
        if !in_object {
            return self.value(byte);
        }
        let name = self.string()?;
        self.expect(b':')?;
        self.awaits = Awaits::Value;
        Ok(Token::Name(name))
    }

    fn value(&mut self, byte: u8) -> Result<Token> {
        if byte == b'"' {
            let text = self.string()?;
            self.value_is_over();
            return Ok(Token::Text(text));
        }
        if byte != b'{' && byte != b'[' {
            let text = self.plain()?;
            self.value_is_over();
            return Ok(Token::Plain(text));
        }
        self.bytes.consume(1);
        self.open.push(byte == b'{');
        self.awaits = Awaits::FirstOrEnd;
        Ok(if byte == b'{' { Token::Object } else { Token::Array })
    }

    fn value_is_over(&mut self) {
        self.awaits = if self.open.is_empty() { Awaits::Nothing } else { Awaits::MoreOrEnd };
    }

    fn string(&mut self) -> Result<String> {
        self.expect(b'"')?;
        let mut raw = vec![b'"'];
        loop {
            let count = self.bytes.read_until(b'"', &mut raw).context("reading JSON")?;
            if count == 0 {
                bail!("the JSON ends within a text");
            }
            let inside = &raw[1..raw.len() - 1];
            let escapes = inside.iter().rev().take_while(|byte| **byte == b'\\').count();
            if raw.ends_with(b"\"") && escapes % 2 == 0 {
                return serde_json::from_slice(&raw).context("a text in the JSON");
            }
        }
    }

    fn plain(&mut self) -> Result<String> {
        let mut text = String::new();
        while let Some(byte) = self.peek()?.filter(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b)) {
            text.push(char::from(byte));
            self.bytes.consume(1);
        }
        match ["true", "false", "null"].contains(&text.as_str()) || is_number(&text) {
            true => Ok(text),
            false => bail!("{text:?} is no JSON"),
        }
    }

    fn expect(&mut self, wanted: u8) -> Result<()> {
        match self.peek_behind_space()? {
            Some(byte) if byte == wanted => self.bytes.consume(1),
            Some(byte) => bail!("{:?} in place of {:?} in the JSON", char::from(byte), char::from(wanted)),
            None => bail!("the JSON ends too early"),
        }
        Ok(())
    }

    fn peek_behind_space(&mut self) -> Result<Option<u8>> {
        while let Some(byte) = self.peek()? {
            if !b" \t\r\n".contains(&byte) {
                return Ok(Some(byte));
            }
            self.bytes.consume(1);
        }
        Ok(None)
    }

    fn peek(&mut self) -> Result<Option<u8>> {
        Ok(self.bytes.fill_buf().context("reading JSON")?.first().copied())
    }
}

fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    decimal::digits(text).is_some_and(|(whole, part)| {
        (whole == "0" || !whole.is_empty() && !whole.starts_with('0')) && part != Some("")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Vec<Token>> {
        let mut reader = Reader::new(text.as_bytes());
        std::iter::from_fn(|| reader.token().transpose()).collect()
    }

    #[test]
    fn it_reads_what_serde_json_does_and_nothing_else() {
        let text = |text: &str| Token::Text(text.to_owned());
        let all =
            tokens(r#" { "a\"" : [ 1 , -2.5e3, "\\", "\u00e9\\\"", true ] , "" : null, "o": {} } "#).unwrap();
        let plain = |text: &str| Token::Plain(text.to_owned());
        let name = |text: &str| Token::Name(text.to_owned());
        let expected = [
            Token::Object,
            name("a\""),
            Token::Array,
            plain("1"),
            plain("-2.5e3"),
            text("\\"),
            text("é\\\""),
            plain("true"),
            Token::End,
            name(""),
            plain("null"),
            name("o"),
            Token::Object,
            Token::End,
            Token::End,
        ];
        assert_eq!(all, expected);
        for text in [
            "",
            " ",
            "{",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{1:1}",
            "[1 2]",
            "[}",
            "{]",
            "1 1",
            "[]]",
            "tru",
            "01",
            "+1",
            "1.",
            "\"",
            "\"a",
            "\"\\\"",
            "\"\\x\"",
            "\"\n\"",
            "{} x",
            "nul",
            "\"a\"",
            "7",
            "[[],[{}]]",
            "{\"a\":{\"b\":[]}}",
            "[1]",
            "-0",
            "0.5",
            "-10.25E-3",
            "1e",
            "1e+",
            "1e+7",
            "--1",
            "-",
            ".5",
            "1.e1",
            "1-1",
            "-01",
            "1E5.0",
            "null",
        ] {
            let theirs = serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(tokens(text).is_ok(), theirs, "{text:?}");
        }
    }

    #[test]
    fn values_are_passed_over_whole_and_depth_is_none_of_its_concern() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let all = format!(r#"{{"a":{deep},"b":"x","c":7}}"#);
        let mut reader = Reader::new(all.as_bytes());
        assert_eq!(reader.some().unwrap(), Token::Object);
        for passed in ["a", "b"] {
            assert_eq!(reader.some().unwrap(), Token::Name(passed.into()));
            reader.skip().unwrap();
        }
        assert_eq!(reader.some().unwrap(), Token::Name("c".into()));
        assert_eq!((reader.number().unwrap(), reader.some().unwrap()), (7, Token::End));
        assert_eq!(reader.token().unwrap(), None);
        assert_eq!(tokens(&deep).unwrap().len(), 200_000);
    }
}
