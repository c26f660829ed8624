//! Decimals by their looks: to read them would bring floating point into the program for this alone.

/// What stands in front of the point of a decimal without a sign, and behind it, if it has one: `1.5e-3`. Each may be empty.
pub fn digits(text: &str) -> Option<(&str, Option<&str>)> {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        None => (text, "0"),
    };
    let (whole, part) = match number.split_once('.') {
        Some((whole, part)) => (whole, Some(part)),
        None => (number, None),
    };
    let are_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let all = [whole, part.unwrap_or_default(), exponent].into_iter().all(are_digits);
    (all && !exponent.is_empty()).then_some((whole, part))
}
