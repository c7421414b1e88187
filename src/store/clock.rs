//! The clock that permissions and store readings are timed by.

use rustix::time::{ClockId, clock_gettime};

use crate::cluster::Moment;

/// Returns the present moment on `CLOCK_BOOTTIME`, which goes on while the machine is suspended.
///
/// Tens of nanoseconds; no system call where the kernel offers its page of time to processes.
pub fn moment() -> Moment {
    let now = clock_gettime(ClockId::Boottime);
    // Time since boot is not negative, and fits for half a million years.
    Moment(now.tv_sec.cast_unsigned() * 1_000_000 + now.tv_nsec.cast_unsigned() / 1_000)
}
