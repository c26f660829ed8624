//! What others say: a node in front of and in its answer, etcd in JSON of any depth.
#![no_main]

use etcd2_backup::fleet::said;
use etcd2_backup::sys::json::{Reader, Token};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// All tokens; `None` if it is no JSON.
fn tokens(data: &[u8]) -> Option<Vec<Token>> {
    let mut reader = Reader::new(data);
    let mut all = Vec::new();
    while let Some(token) = reader.token().ok()? {
        all.push(token);
    }
    Some(all)
}

/// How many objects and lists, texts, and other values there are.
fn count(value: &Value, counts: &mut [usize; 3]) {
    match value {
        Value::Array(all) => {
            counts[0] += 1;
            all.iter().for_each(|value| count(value, counts));
        }
        Value::Object(all) => {
            counts[0] += 1;
            all.values().for_each(|value| count(value, counts));
        }
        Value::String(_) => counts[1] += 1,
        _ => counts[2] += 1,
    }
}

fuzz_target!(|data: &[u8]| {
    let tokens = tokens(data);
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        let tokens = tokens.as_ref().expect("what another reader takes is JSON");
        let of = |what: fn(&Token) -> bool| tokens.iter().filter(|token| what(token)).count();
        let mut counts = [0; 3];
        count(&value, &mut counts);
        let found = [
            of(|t| matches!(t, Token::Object | Token::Array)),
            of(|t| matches!(t, Token::Text(_))),
            of(|t| matches!(t, Token::Plain(_))),
        ];
        // A name that is there twice has one value in the end.
        assert!(found.iter().zip(counts).all(|(found, counted)| *found >= counted));
        assert_eq!(found[0], of(|t| *t == Token::End));
    }

    let shown = said::visible(&String::from_utf8_lossy(data));
    assert!(!shown.chars().any(char::is_control) && said::visible(&shown) == shown);
    assert!(!said::last_words(&String::from_utf8_lossy(data)).contains(['\n', '\x1b']));
    let answer = said::behind_the_mark(data);
    assert!(data.ends_with(answer));
    if let Ok(value) = said::answer::<Value>(data) {
        assert!(!value.to_string().chars().any(char::is_control));
    }
    let marked = [format!("{}\n", said::MARK).as_bytes(), data].concat();
    assert_eq!(said::behind_the_mark(&marked), data);
    let mut stream = &marked[..];
    assert!(said::skip_greeting(&mut stream).expect("memory can be read").is_empty());
    assert_eq!(stream, data);
});
