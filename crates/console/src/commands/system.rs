//! `release`.

use crate::options::SessionOptions;
use crate::record::Record;
use crate::report::Report;

/// Tells the version.
pub(super) fn release(report: &mut Report, session: &SessionOptions) {
    let version = session.version.clone();
    report.row(
        format!("ledge {version}"),
        Record::Release {
            product: "ledge",
            version,
        },
    );
}
