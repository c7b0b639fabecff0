//! A panic is a bug: it is logged by place and the core stops. The message is left out, since formatting it would
//! bring `core::fmt` into the image.

use core::panic::PanicInfo;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    match info.location() {
        Some(place) => defmt::error!("panic at {=str}:{=u32}", place.file(), place.line()),
        None => defmt::error!("panic"),
    }
    crate::fail()
}
