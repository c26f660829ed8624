//! The node's files: rendered from a site's templates, and held to what they must keep.

mod directives;
pub(crate) mod exposure;
pub(crate) mod render;
pub(crate) mod rendered;
pub(crate) mod rules;
mod sandbox;
pub(crate) mod systemd;

use anyhow::Result;

use crate::site::Site;
use rendered::Rendered;

/// Renders a site's files. A unit that would break a backup or a recovery is refused.
pub(crate) fn judged(site: &Site) -> Result<Rendered> {
    judge(site)?.or_refuse()
}

/// The same for who wants to hear everything at once: refusals are among the findings.
pub(crate) fn judge(site: &Site) -> Result<Rendered> {
    let files = render::expand(site, &site.templates)?;
    let findings = site.warnings.iter().cloned().chain(rules::check(site, &files)).collect();
    Ok(Rendered { files, findings })
}
