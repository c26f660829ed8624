//! What must be known of an executable before it ships: is it static, for which machine, what is linked into it.

use anyhow::{Context, Result, ensure};

/// The few facts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Elf {
    /// `e_machine`, for example 62 for x86_64.
    pub(crate) machine: u16,
    /// It asks for a loader of the node, and so for the node's libraries.
    pub(crate) needs_loader: bool,
    /// It sits at a fixed address and relocates nothing: what file(1) calls statically linked.
    pub(crate) is_static: bool,
    /// The functions and objects of its symbol table; empty once it is stripped.
    pub(crate) symbols: Vec<Symbol>,
    /// Its sections that are loaded from the file: name and size.
    pub(crate) sections: Vec<(String, u64)>,
}

/// A function or an object of a program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Symbol {
    /// As the linker knows it.
    pub(crate) name: String,
    /// In bytes.
    pub(crate) size: u64,
}

const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const SHT_SYMTAB: u32 = 2;
const SHT_NOBITS: u32 = 8;
const SHF_ALLOC: u64 = 2;

/// Reads a 64-bit little-endian ELF file.
pub(crate) fn parse_elf(bytes: &[u8]) -> Result<Elf> {
    ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "not a 64-bit little-endian ELF program");
    let mut elf = Elf {
        machine: half(bytes, 18)?,
        needs_loader: false,
        is_static: true,
        symbols: vec![],
        sections: vec![],
    };
    let (start, size, count) = (long(bytes, 32)?, half(bytes, 54)?, half(bytes, 56)?);
    for i in 0..u64::from(count) {
        let kind = word(bytes, start.saturating_add(i * u64::from(size)))?;
        elf.needs_loader |= kind == PT_INTERP;
        elf.is_static &= kind != PT_INTERP && kind != PT_DYNAMIC;
    }
    let (start, size, count) = (long(bytes, 40)?, half(bytes, 58)?, half(bytes, 60)?);
    // The offset of a field in the header of section `i`.
    let header = |i: u64, offset: u64| start.saturating_add(i * u64::from(size) + offset);
    let names = if count == 0 { 0 } else { long(bytes, header(u64::from(half(bytes, 62)?), 24))? };
    for i in 0..u64::from(count) {
        let kind = word(bytes, header(i, 4))?;
        if long(bytes, header(i, 8))? & SHF_ALLOC != 0 && kind != SHT_NOBITS {
            let offset = u64::from(word(bytes, header(i, 0))?);
            elf.sections.push((name(bytes, names.saturating_add(offset))?, long(bytes, header(i, 32))?));
        }
        if kind == SHT_SYMTAB {
            let (at, length) = (long(bytes, header(i, 24))?, long(bytes, header(i, 32))?);
            let names = long(bytes, header(u64::from(word(bytes, header(i, 40))?), 24))?;
            for symbol in (at..at.saturating_add(length)).step_by(24) {
                let offset = u64::from(word(bytes, symbol)?);
                let size = long(bytes, symbol.saturating_add(16))?;
                elf.symbols.push(Symbol { name: name(bytes, names.saturating_add(offset))?, size });
            }
        }
    }
    Ok(elf)
}

fn field<const N: usize>(bytes: &[u8], at: u64) -> Result<[u8; N]> {
    let at = usize::try_from(at)?;
    let slice = at.checked_add(N).and_then(|end| bytes.get(at..end)).context("the file is cut short")?;
    Ok(slice.try_into()?)
}

fn half(bytes: &[u8], at: u64) -> Result<u16> {
    Ok(u16::from_le_bytes(field(bytes, at)?))
}

fn word(bytes: &[u8], at: u64) -> Result<u32> {
    Ok(u32::from_le_bytes(field(bytes, at)?))
}

fn long(bytes: &[u8], at: u64) -> Result<u64> {
    Ok(u64::from_le_bytes(field(bytes, at)?))
}

fn name(bytes: &[u8], at: u64) -> Result<String> {
    let tail = bytes.get(usize::try_from(at)?..).context("the file is cut short")?;
    let end = tail.iter().position(|b| *b == 0).context("a symbol's name does not end")?;
    Ok(String::from_utf8_lossy(&tail[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_test_is_dynamic_and_has_symbols() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = parse_elf(&bytes).unwrap();
        assert!(elf.needs_loader && !elf.is_static);
        assert!(elf.symbols.iter().any(|s| s.name == "main" && s.size > 0));
        assert!(
            elf.sections.iter().any(|(name, size)| name == ".text" && *size > 1000),
            "{:?}",
            elf.sections
        );
        assert!(elf.sections.iter().all(|(name, _)| name != ".bss" && name != ".debug_info"));
        assert_eq!(parse_elf(&bytes[..bytes.len() / 2]).unwrap_err().to_string(), "the file is cut short");
    }

    #[test]
    fn a_script_is_no_program() {
        assert!(parse_elf(b"#!/bin/sh\n").unwrap_err().to_string().starts_with("not a 64-bit"));
        assert!(parse_elf(b"\x7fELF\x02\x01").is_err());
    }
}
