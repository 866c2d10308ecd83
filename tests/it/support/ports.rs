//! Free TCP ports below the ephemeral range.
//!
//! A port handed out by the system (bind to 0) may be taken by any outgoing connection while a killed server is being
//! started again on it; ports below 32768 are not used for that.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// `N` different ports of 127.0.0.1 on which nobody listens right now.
pub fn free<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test binaries that run at the same time begin far apart.
    let start = std::process::id().wrapping_mul(97);
    std::array::from_fn(|_| {
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let port = FIRST + start.wrapping_add(step) % COUNT;
            let port = u16::try_from(port).expect("ports fit");
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return port;
            }
        }
        panic!("no free port between {FIRST} and {}", FIRST + COUNT);
    })
}
