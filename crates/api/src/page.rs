//! The page and its files, embedded in the binary: no file system, no other server.

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::ApiError;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! file {
    ($path:literal, $content_type:expr) => {
        ($path, $content_type, include_bytes!(concat!("../web/", $path)).as_slice())
    };
}

/// Path, content type, content.
const FILES: &[(&str, &str, &[u8])] = &[
    file!("index.html", HTML),
    file!("style.css", CSS),
    file!("panels.css", CSS),
    file!("icon.svg", SVG),
    file!("js/main.js", SCRIPT),
    file!("js/store.js", SCRIPT),
    file!("js/live.js", SCRIPT),
    file!("js/map.js", SCRIPT),
    file!("js/dots.js", SCRIPT),
    file!("js/backdrop.js", SCRIPT),
    file!("js/details.js", SCRIPT),
    file!("js/chart.js", SCRIPT),
    file!("js/lists.js", SCRIPT),
    file!("js/api.js", SCRIPT),
    file!("js/rows.js", SCRIPT),
    file!("js/tabs.js", SCRIPT),
    file!("js/risks.js", SCRIPT),
    file!("js/reasons.js", SCRIPT),
    file!("js/accuracy.js", SCRIPT),
    file!("js/topologies.js", SCRIPT),
    file!("js/plans.js", SCRIPT),
    file!("js/decide.js", SCRIPT),
    file!("js/progress.js", SCRIPT),
    file!("js/proposal.js", SCRIPT),
    file!("js/stops.js", SCRIPT),
    file!("js/routes.js", SCRIPT),
    file!("js/route-layer.js", SCRIPT),
    file!("js/health.js", SCRIPT),
    file!("js/palette.js", SCRIPT),
    file!("js/format.js", SCRIPT),
    file!("vendor/leaflet/leaflet.js", SCRIPT),
    file!("vendor/leaflet/leaflet.css", CSS),
    file!("vendor/leaflet/LICENSE", TEXT),
];

/// `GET /`.
pub(crate) async fn index(headers: HeaderMap) -> Response {
    serve("index.html", &headers)
}

/// `GET /assets/{path}`.
pub(crate) async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    serve(&path, &headers)
}

fn serve(path: &str, headers: &HeaderMap) -> Response {
    let Some((_, content_type, content)) = FILES.iter().find(|file| file.0 == path) else {
        return ApiError::not_found(format!("no file {path:?}"), "the page is at /").into_response();
    };
    // Revalidated on each load: after an upgrade nobody runs an old script against a new interface.
    let tag = format!("\"{:016x}\"", fnv1a(content));
    let caching = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    ([(header::CONTENT_TYPE, *content_type)], caching, *content).into_response()
}

/// FNV-1a: tells versions of our own files apart, nothing more.
fn fnv1a(content: &[u8]) -> u64 {
    content.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page must work without any other server, and the content policy must not break it.
    #[test]
    fn our_files_name_no_other_server_and_nothing_inline() {
        for (path, _, content) in FILES.iter().filter(|file| !file.0.starts_with("vendor/")) {
            let text = String::from_utf8_lossy(content);
            for foreign in ["https://", "src=\"//", "href=\"//", "@import", "url(http"] {
                assert!(!text.contains(foreign), "{path} contains {foreign}");
            }
            let without_namespaces = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!without_namespaces.contains("http://"), "{path} names another server");
            for inline in ["<script>", " style=\"", "onclick=", "innerHTML", "eval("] {
                assert!(!text.contains(inline), "{path} contains {inline}");
            }
        }
    }

    #[test]
    fn every_import_and_link_is_served() {
        for (path, _, content) in FILES.iter().filter(|file| file.0.starts_with("js/") || file.0 == "index.html") {
            let text = String::from_utf8_lossy(content);
            let imports = text.split("from './").skip(1).map(|rest| format!("js/{}", rest.split('\'').next().unwrap_or_default()));
            let links = text.split("\"/assets/").skip(1).map(|rest| rest.split('"').next().unwrap_or_default().to_owned());
            for wanted in imports.chain(links) {
                assert!(FILES.iter().any(|file| file.0 == wanted), "{path} wants {wanted}");
            }
        }
    }
}
