//! `set` and `expertmode`: how a session, and all of them, behave.

use super::machine::change;
use crate::host::World;
use crate::options::Modes;
use crate::problem::Problem;
use crate::record::Record;
use crate::report::Report;

/// Most characters of the product word.
const PRODUCT_CHARACTERS_MAX: usize = 16;

/// Lists what can be set, or sets it.
pub(super) fn set(report: &mut Report, world: &mut World<'_>, modes: &mut Modes, words: &[String]) {
    let batch = if modes.batch { "on" } else { "off" };
    let known = [
        ("batch", batch.to_owned()),
        ("product", world.host.settings().product.clone()),
    ];
    let Some(name) = words.first() else {
        for (name, value) in known {
            row(report, name, value);
        }
        return;
    };
    let Some((name, present)) = known.into_iter().find(|(known, _)| known == name) else {
        return report.fail(Problem::NoSuchSetting(name.clone()), &[]);
    };
    match (name, words.get(1).map(String::as_str)) {
        (name, None) => row(report, name, present),
        ("batch", Some("on")) => modes.batch = true,
        ("batch", Some("off")) => modes.batch = false,
        ("batch", Some(other)) => report.fail(Problem::NotOnOff(other.to_owned()), &[]),
        (_, Some(product)) => set_product(report, world, product),
    }
}

/// Tools look for the word before `shelf`, so that it has no blank.
fn set_product(report: &mut Report, world: &mut World<'_>, product: &str) {
    let is_word = product.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_word || !(1..=PRODUCT_CHARACTERS_MAX).contains(&product.len()) {
        return report.fail(Problem::InvalidProduct, &[]);
    }
    change(report, world, |settings| {
        product.clone_into(&mut settings.product);
    });
}

fn row(report: &mut Report, name: &'static str, value: String) {
    report.row(format!("{name:<10} {value}"), Record::Fact { name, value });
}

/// Begins expert mode: `exit` ends it.
pub(super) fn expert(report: &mut Report, modes: &mut Modes) {
    modes.expert = true;
    report.line("caution: commands here may destroy data; exit leaves expert mode");
}
