//! The names of an enumeration, out of the kernel's description of its own types (BTF).
//!
//! ```text
//! header: magic u16, version u8, flags u8, header bytes u32,
//!         types: offset u32, bytes u32; strings: offset u32, bytes u32 (offsets from the end of the header)
//! type:   name u32, info u32 (count in bits 0..16, kind in bits 24..29), size u32, then what the kind has
//! ```

use zerocopy::FromBytes;

const MAGIC: u16 = 0xeb9f;
const KIND_ENUM: u32 = 6;
/// Bytes of the three words that every type begins with.
const TYPE_BYTES: usize = 12;

/// The values and names of the enumeration with this name; nothing if there is none.
pub(crate) fn enumeration(btf: &[u8], name: &str) -> Vec<(u32, String)> {
    find(btf, name).unwrap_or_default()
}

fn find(btf: &[u8], name: &str) -> Option<Vec<(u32, String)>> {
    if u16::read_from_bytes(btf.get(..2)?).ok()? != MAGIC {
        return None;
    }
    let body = btf.get(word(btf, 4)? as usize..)?;
    let part = |offset: u32, bytes: u32| body.get(offset as usize..)?.get(..bytes as usize);
    let mut types = part(word(btf, 8)?, word(btf, 12)?)?;
    let strings = part(word(btf, 16)?, word(btf, 20)?)?;
    while !types.is_empty() {
        let (name_at, info) = (word(types, 0)?, word(types, 4)?);
        let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        let more_bytes = more_bytes(kind, count)?;
        if kind == KIND_ENUM && text(strings, name_at)? == name {
            let values = types.get(TYPE_BYTES..TYPE_BYTES + more_bytes)?;
            let pairs = values.chunks_exact(8).map(|value| {
                let name = text(strings, word(value, 0)?)?;
                Some((word(value, 4)?, name.to_owned()))
            });
            return pairs.collect();
        }
        types = types.get(TYPE_BYTES + more_bytes..)?;
    }
    None
}

/// What follows the three words of a type of this kind with so many parts. `None`: an unknown kind, whose
/// length nobody knows.
const fn more_bytes(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        // Integers, variables and tags.
        1 | 14 | 17 => 4,
        3 => 12,
        // Structures, unions, sections, and enumerations of 64 bits.
        4 | 5 | 15 | 19 => 12 * count,
        // Enumerations and prototypes.
        KIND_ENUM | 13 => 8 * count,
        0 | 2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    u32::read_from_bytes(bytes.get(at..at + 4)?).ok()
}

fn text(strings: &[u8], at: u32) -> Option<&str> {
    let rest = strings.get(at as usize..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(&rest[..end]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    /// An integer, and an enumeration of two values behind it.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0drop\0NONE\0FULL\0";
        let words: [u32; 11] = [
            1,
            1 << 24,
            4,
            32, // int
            5,
            6 << 24 | 2,
            4,
            10,
            0,
            15,
            7, // drop { NONE, FULL = 7 }
        ];
        let header: [u32; 6] = [
            u32::from(MAGIC) | 1 << 16,
            24,
            0,
            size_of_val(&words) as u32,
            size_of_val(&words) as u32,
            strings.len() as u32,
        ];
        [header.as_bytes(), words.as_bytes(), strings].concat()
    }

    #[test]
    fn an_enumeration_is_found_behind_other_types() {
        let named = |name| enumeration(&sample(), name);
        assert_eq!(named("drop"), [(0, "NONE".into()), (7, "FULL".into())]);
        assert_eq!(named("int"), []);
        assert_eq!(named("other"), []);
    }

    #[test]
    fn what_is_cut_off_or_of_an_unknown_kind_has_no_names() {
        let whole = sample();
        for end in 0..whole.len() {
            assert_eq!(enumeration(&whole[..end], "drop"), [], "{end} bytes");
        }
        let mut unknown = whole;
        unknown[24 + 7] = 31;
        assert_eq!(enumeration(&unknown, "drop"), []);
    }
}
