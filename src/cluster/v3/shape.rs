//! The shape of a message: its fields by number, and what they are called in JSON. With it a message goes to a JSON gateway and
//! comes from one, so that there is only one way to read and write it.
//!
//! As gRPC's gateway has it: numbers of 64 bits are texts in JSON, what is 0 or empty is left out.

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};

use crate::etcd::wire::{self, Encoder, Fields};

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A whole number; below 0 it is the two's complement of 64 bits.
    Number,
    /// Yes or no.
    Truth,
    /// A text.
    Text,
    /// Any number of texts.
    Texts,
    /// A message, or any number of them.
    Message(Shape),
}

/// A field: its number, its name in JSON, what it holds.
pub type Field = (u64, &'static str, Kind);
/// The fields of a message, by their numbers.
pub type Shape = &'static [Field];

/// A request in JSON. No request has a message in it.
///
/// # Errors
/// It is not of this shape.
pub fn to_json(shape: Shape, message: &[u8]) -> Result<Value> {
    let mut object = Map::new();
    for field in Fields::new(message) {
        let (number, value) = field?;
        let found = shape.iter().find(|(of, ..)| *of == number);
        let (_, name, kind) = found.with_context(|| format!("no field {number} in a request"))?;
        let text =
            |value: wire::Value<'_>| Ok::<_, anyhow::Error>(std::str::from_utf8(value.bytes()?)?.to_owned());
        let value = match kind {
            Kind::Number => Value::from(value.number()?.to_string()),
            Kind::Truth => Value::from(value.number()? != 0),
            Kind::Text => Value::from(text(value)?),
            Kind::Texts => {
                let all = object.remove(*name).unwrap_or_else(|| Value::Array(Vec::new()));
                let Value::Array(mut all) = all else { bail!("{name} is no list") };
                all.push(Value::from(text(value)?));
                Value::Array(all)
            }
            Kind::Message(_) => bail!("a message within a request"),
        };
        object.insert((*name).to_owned(), value);
    }
    Ok(Value::Object(object))
}

/// The message that an answer in JSON is. What is not of the shape is passed over, as a newer etcd may say more.
///
/// # Errors
/// A field holds something else than it should.
pub fn from_json(shape: Shape, json: &Value) -> Result<Vec<u8>> {
    let object = json.as_object().context("not an object")?;
    let mut message = Encoder::default();
    for (number, name, kind) in shape {
        let values = match object.get(*name) {
            None | Some(Value::Null) => continue,
            Some(Value::Array(all)) => &all[..],
            Some(one) => std::slice::from_ref(one),
        };
        for value in values {
            message = put(message, *number, *kind, value).with_context(|| format!("the field {name}"))?;
        }
    }
    Ok(message.done())
}

fn put(message: Encoder, number: u64, kind: Kind, value: &Value) -> Result<Encoder> {
    Ok(match kind {
        Kind::Number => message.number(number, whole(value).context("not a whole number")?),
        Kind::Truth => message.number(number, value.as_bool().context("neither true nor false")?.into()),
        Kind::Text | Kind::Texts => message.bytes(number, value.as_str().context("not a text")?.as_bytes()),
        Kind::Message(shape) => message.bytes(number, &from_json(shape, value)?),
    })
}

fn whole(value: &Value) -> Option<u64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    text.parse().ok().or_else(|| text.parse::<i64>().ok().map(i64::cast_unsigned))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const INNER: Shape = &[(1, "ID", Kind::Number), (4, "on", Kind::Truth)];
    const OUTER: Shape = &[
        (1, "inner", Kind::Message(INNER)),
        (2, "names", Kind::Texts),
        (3, "name", Kind::Text),
        (16, "less", Kind::Number),
    ];

    #[test]
    fn an_answer_in_json_is_the_message_it_would_be() {
        let json = json!({
            "inner": [{"ID": "18446744073709551615", "on": true}, {"ID": 5}],
            "names": ["a", "é"], "name": "x", "less": "-1", "newer": {"a": []}, "none": null,
        });
        let inner = |id| Encoder::default().number(1, id);
        let want = Encoder::default()
            .bytes(1, &inner(u64::MAX).number(4, 1).done())
            .bytes(1, &inner(5).done())
            .bytes(2, b"a")
            .bytes(2, "é".as_bytes())
            .bytes(3, b"x")
            .number(16, u64::MAX);
        assert_eq!(from_json(OUTER, &json).unwrap(), want.done());
        for bad in [
            json!([]),
            json!({"inner": 5}),
            json!({"name": 5}),
            json!({"less": "x"}),
            json!({"less": 0.5}),
            json!({"less": "18446744073709551616"}),
            json!({"inner": {"on": "true"}}),
        ] {
            assert!(from_json(OUTER, &bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_goes_as_json() {
        let names = Encoder::default().bytes(2, b"a").bytes(2, b"b");
        let message = names.bytes(3, b"x").number(16, 7).done();
        let json = to_json(OUTER, &message).unwrap();
        assert_eq!(json, json!({"names": ["a", "b"], "name": "x", "less": "7"}));
        assert_eq!(from_json(OUTER, &json).unwrap(), message);
        assert_eq!(to_json(INNER, &Encoder::default().number(4, 1).done()).unwrap(), json!({"on": true}));
        for bad in [&[0x0a, 0][..], &[0x38, 1], &[0x12, 1, 0xff], &[0x12]] {
            assert!(to_json(OUTER, bad).is_err(), "{bad:x?}");
        }
    }
}
