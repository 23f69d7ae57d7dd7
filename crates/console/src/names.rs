//! How drives and LUNs are written: parsing and printing of their names.

use crate::problem::Problem;
use aoe::Shelf;
use shelf::admin::{AdminError, DriveSlot, ElementId, LunNumber};

/// What stands for the shelf number while it has none, in prompts and drive names.
pub(crate) const UNSET: &str = "unset";

/// The shelf number, or [`UNSET`].
pub(crate) fn shelf_name(shelf: Option<Shelf>) -> String {
    shelf.map_or_else(|| UNSET.to_owned(), |shelf| shelf.to_string())
}

/// `<shelf>.<slot>`.
pub(crate) fn drive_name(shelf: Option<Shelf>, slot: DriveSlot) -> String {
    format!("{}.{slot}", shelf_name(shelf))
}

/// Reads a decimal number without sign, blanks or leading zeros.
pub(crate) fn decimal(word: &str) -> Option<u64> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = word.len() > 1 && word.starts_with('0');
    if digits && !leading_zero {
        word.parse().ok()
    } else {
        None
    }
}

/// Reads a LUN number.
pub(crate) fn parse_lun(word: &str) -> Result<LunNumber, Problem> {
    decimal(word)
        .and_then(|number| LunNumber::new(u8::try_from(number).ok()?))
        .ok_or_else(|| Problem::InvalidLun(word.to_owned()))
}

/// Reads a drive name. Its shelf part must be that of the shelf, or [`UNSET`] while it has none, so
/// that what `show` prints can be typed.
pub(crate) fn parse_drive(word: &str, shelf: Option<Shelf>) -> Result<DriveSlot, Problem> {
    let malformed = || Problem::InvalidDrive(word.to_owned());
    let (shelf_word, slot_word) = word.split_once('.').ok_or_else(malformed)?;
    let slot = decimal(slot_word).ok_or_else(malformed)?;
    match shelf {
        None if shelf_word == UNSET => {}
        None => return Err(AdminError::ShelfUnset.into()),
        Some(shelf) => {
            let number = decimal(shelf_word).ok_or_else(malformed)?;
            if number != u64::from(shelf.0) {
                return Err(Problem::WrongShelf(shelf_word.to_owned()));
            }
        }
    }
    // No shelf has that many slots: the drive is as absent as any other.
    let slot = u16::try_from(slot).map_err(|_| AdminError::NoSuchDrive(word.to_owned()))?;
    Ok(DriveSlot(slot))
}

/// Reads the name of an element, `LUN.part.member`.
pub(crate) fn parse_element(word: &str) -> Result<ElementId, Problem> {
    let malformed = || Problem::InvalidElement(word.to_owned());
    let mut numbers = word.split('.').map(decimal);
    let mut next = || numbers.next().flatten().and_then(|n| u8::try_from(n).ok());
    let (Some(lun), Some(part), Some(member)) = (next(), next(), next()) else {
        return Err(malformed());
    };
    let lun = LunNumber::new(lun).ok_or_else(malformed)?;
    if numbers.next().is_some() {
        return Err(malformed());
    }
    Ok(ElementId { lun, part, member })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lun_numbers_are_plain_decimals_to_254() {
        assert_eq!(parse_lun("254").unwrap().get(), 254);
        for word in [
            "255",
            "-1",
            "+1",
            "00",
            "01",
            "",
            " 1",
            "x",
            "99999999999999999999999",
        ] {
            assert_eq!(parse_lun(word), Err(Problem::InvalidLun(word.to_owned())));
        }
    }

    #[test]
    fn element_names_have_three_numbers() {
        let id = parse_element("0.1.35").unwrap();
        assert_eq!((id.lun.get(), id.part, id.member), (0, 1, 35));
        for word in [
            "", "0", "0.0", "0.0.0.0", "0.0.00", "255.0.0", "0.0.256", "0.0.x", "0..0",
        ] {
            let refused = Problem::InvalidElement(word.to_owned());
            assert_eq!(parse_element(word), Err(refused));
        }
    }

    #[test]
    fn drive_names_carry_the_shelf_number() {
        let shelf = Some(Shelf(1));
        assert_eq!(parse_drive("1.15", shelf), Ok(DriveSlot(15)));
        assert_eq!(
            parse_drive("2.15", shelf),
            Err(Problem::WrongShelf("2".to_owned()))
        );
        for word in [
            "1", "1.", ".1", "01.1", "1.01", "1.1.1", "a.b", "unset.0", "",
        ] {
            assert_eq!(
                parse_drive(word, shelf),
                Err(Problem::InvalidDrive(word.to_owned()))
            );
        }
        let absent = AdminError::NoSuchDrive("1.65536".to_owned());
        assert_eq!(parse_drive("1.65536", shelf), Err(absent.into()));
        assert_eq!(parse_drive("unset.3", None), Ok(DriveSlot(3)));
        assert_eq!(parse_drive("1.3", None), Err(AdminError::ShelfUnset.into()));
    }
}
