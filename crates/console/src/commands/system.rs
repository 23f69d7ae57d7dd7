//! `release`.

use crate::host::World;
use crate::options::SessionOptions;
use crate::record::Record;
use crate::report::Report;

/// Tells the version, and those of the image if the machine was started from it.
pub(super) fn release(report: &mut Report, world: &World<'_>, session: &SessionOptions) {
    let version = session.version.clone();
    let mut lines = vec![format!("ledge {version}")];
    let image = world.host.image().ok();
    if let Some(versions) = &image {
        lines.push(format!("image {}", versions.running));
        if let Some(other) = &versions.other {
            lines.push(format!("image {other} in the other slot"));
        }
        if versions.next != versions.running {
            lines.push(format!("image {} after reboot", versions.next));
        }
    }
    let other_image = image.as_ref().and_then(|image| image.other.clone());
    let (image, next_image) = image.map(|image| (image.running, image.next)).unzip();
    report.rows(
        lines,
        Record::Release {
            product: "ledge",
            version,
            image,
            other_image,
            next_image,
        },
    );
}
