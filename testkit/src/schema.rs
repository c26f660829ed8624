//! JSON Schema, as much of it as the program's own schemas use: a crate for all of it brings seventy others.

use serde_json::Value;

/// Where a value is not what a schema says, and how: `/generations/0/bytes: …`. A field that the schema does not list is told,
/// too: readers may ignore it, but it has to be described.
///
/// # Panics
/// The schema uses a keyword that is not known here.
pub fn problems(schema: &Value, value: &Value) -> Vec<String> {
    let mut all = Vec::new();
    check(schema, schema, value, "", &mut all);
    all
}

fn check(top: &Value, schema: &Value, value: &Value, at: &str, all: &mut Vec<String>) {
    for (keyword, said) in schema.as_object().expect("a schema is an object") {
        let mut problem = |what: String| all.push(format!("{at}: {what}"));
        match keyword.as_str() {
            "$schema" | "title" | "description" | "$defs" | "required" => {}
            "$ref" => {
                let path =
                    said.as_str().and_then(|r| r.strip_prefix('#')).expect("a reference into this schema");
                check(top, top.pointer(path).expect(path), value, at, all);
            }
            "type" => {
                let types = said.as_array().cloned().unwrap_or_else(|| vec![said.clone()]);
                if !types.iter().any(|t| is_of(t.as_str().expect("a type"), value)) {
                    problem(format!("{value} is not of type {said}"));
                }
            }
            "const" if said != value => problem(format!("{value} is not {said}")),
            "enum" if !said.as_array().expect("a list").contains(value) => {
                problem(format!("{value} is none of {said}"));
            }
            "const" | "enum" => {}
            "minimum" => {
                if value.as_f64().is_some_and(|v| v < said.as_f64().expect("a number")) {
                    problem(format!("{value} is less than {said}"));
                }
            }
            "pattern" => {
                if value.as_str().is_some_and(|text| !matches(said.as_str().expect("a pattern"), text)) {
                    problem(format!("{value} does not match {said}"));
                }
            }
            "items" => {
                for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(top, said, item, &format!("{at}/{number}"), all);
                }
            }
            "properties" => {
                let Some(fields) = value.as_object() else { continue };
                for (name, field) in fields {
                    match said.get(name) {
                        Some(schema) => check(top, schema, field, &format!("{at}/{name}"), all),
                        None => all.push(format!("{at}/{name}: it is not described")),
                    }
                }
                let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
                for name in required.filter(|name| !fields.contains_key(*name)) {
                    all.push(format!("{at}/{name}: it is missing"));
                }
            }
            "anyOf" => {
                let one = |schema: &Value| {
                    let mut problems = Vec::new();
                    check(top, schema, value, at, &mut problems);
                    problems
                };
                let each: Vec<_> = said.as_array().expect("a list").iter().map(one).collect();
                if each.iter().all(|problems| !problems.is_empty()) {
                    all.extend(each.into_iter().flatten());
                }
            }
            other => panic!("the keyword {other} is not known"),
        }
    }
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("the type {other} is not known"),
    }
}

/// The patterns that the schemas use, each by the name of what it is about.
fn matches(pattern: &str, text: &str) -> bool {
    let all = |text: &str, set: fn(u8) -> bool| !text.is_empty() && text.bytes().all(set);
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    match pattern {
        "^(0|[1-9a-f][0-9a-f]{0,15})$" => {
            text == "0" || text.len() <= 16 && !text.starts_with('0') && all(text, hex)
        }
        "^[0-9a-f]{16}$" => text.len() == 16 && all(text, hex),
        "^[0-9a-f]{64}$" => text.len() == 64 && all(text, hex),
        "^[0-7]{4}$" => text.len() == 4 && all(text, |b| (b'0'..=b'7').contains(&b)),
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z$" => {
            let (whole, part) = text.strip_suffix('Z').map_or(("", None), |t| {
                t.split_once('.').map_or((t, None), |(whole, part)| (whole, Some(part)))
            });
            let shape: String = whole.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            shape == "0000-00-00T00:00:00" && part.is_none_or(|part| all(part, |b| b.is_ascii_digit()))
        }
        other => panic!("the pattern {other} is not known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_keyword_finds_what_is_wrong_and_nothing_else() {
        let schema = json!({
            "type": "object",
            "properties": {
                "format": { "const": 1 },
                "id": { "anyOf": [{ "$ref": "#/$defs/id" }, { "type": "null" }] },
                "list": { "type": "array", "items": { "type": ["integer", "null"], "minimum": 0 } },
                "kind": { "type": "string", "enum": ["a", "b"] },
                "time": { "type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z$" },
            },
            "required": ["format"],
            "$defs": { "id": { "type": "string", "pattern": "^(0|[1-9a-f][0-9a-f]{0,15})$" } },
        });
        for good in [
            json!({ "format": 1 }),
            json!({ "format": 1, "id": null, "list": [0, null, u64::MAX], "kind": "a", "time": "2026-01-02T03:04:05Z" }),
            json!({ "format": 1, "id": "a0", "time": "2026-01-02T03:04:05.678Z" }),
        ] {
            assert_eq!(problems(&schema, &good), [""; 0], "{good}");
        }
        for (bad, at) in [
            (json!(1), ": 1 is not of type"),
            (json!({}), "/format: it is missing"),
            (json!({ "format": 2 }), "/format: 2 is not 1"),
            (json!({ "format": 1, "more": 1 }), "/more: it is not described"),
            (json!({ "format": 1, "id": "0a" }), "/id: \"0a\" does not match"),
            (json!({ "format": 1, "id": 7 }), "/id: 7 is not of type"),
            (json!({ "format": 1, "list": [1, -1] }), "/list/1: -1 is less than 0"),
            (json!({ "format": 1, "list": ["1"] }), "/list/0: \"1\" is not of type"),
            (json!({ "format": 1, "kind": "c" }), "/kind: \"c\" is none of"),
            (json!({ "format": 1, "time": "2026-01-02 03:04:05" }), "/time: "),
            (json!({ "format": 1, "time": "2026-01-02T03:04:05.Z" }), "/time: "),
        ] {
            let said = problems(&schema, &bad);
            assert!(said.iter().any(|p| p.starts_with(at)), "{bad}: {said:?}");
        }
    }
}
