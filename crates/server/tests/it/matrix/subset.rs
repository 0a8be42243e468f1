//! The named subset that every change runs: each point, each fault and each class at least once, and the pairs that
//! have the most to lose.

use super::cell::Cell;
use super::faults::Fault;
use super::points::Point;
use crate::fleet::vendor::Class;

/// Its cells.
pub const CELLS: [Cell; 40] = [
    Cell::new(Point::C1, Fault::F1, Class::Lookup),
    Cell::new(Point::C1, Fault::F3Applied, Class::None),
    Cell::new(Point::C2, Fault::F2, Class::Idempotent),
    Cell::new(Point::C3, Fault::F1, Class::None),
    Cell::new(Point::C3, Fault::F14, Class::Callback),
    Cell::new(Point::C4Before, Fault::F3Applied, Class::None),
    Cell::new(Point::C4Before, Fault::F3Lost, Class::Idempotent),
    Cell::new(Point::C4After, Fault::F4Backends, Class::None),
    Cell::new(Point::C5, Fault::F1, Class::Lookup),
    Cell::new(Point::C5, Fault::F2, Class::None),
    Cell::new(Point::C5, Fault::F10Late, Class::Idempotent),
    Cell::new(Point::C6, Fault::F1, Class::None),
    Cell::new(Point::C6, Fault::F8, Class::Lookup),
    Cell::new(Point::C6, Fault::F9Provider, Class::Idempotent),
    Cell::new(Point::C7, Fault::F2, Class::None),
    Cell::new(Point::C7, Fault::F5, Class::Lookup),
    Cell::new(Point::C7, Fault::F10Drop, Class::Lookup),
    Cell::new(Point::C7, Fault::F1, Class::Callback),
    Cell::new(Point::C8, Fault::F3Applied, Class::Callback),
    Cell::new(Point::C8, Fault::F4Restart, Class::None),
    Cell::new(Point::C9, Fault::F9Database, Class::None),
    Cell::new(Point::C9, Fault::F4Pool, Class::Idempotent),
    Cell::new(Point::C10Before, Fault::F1, Class::Callback),
    Cell::new(Point::C10Before, Fault::F9Database, Class::Callback),
    Cell::new(Point::C10After, Fault::F1, Class::Callback),
    Cell::new(Point::C10After, Fault::F3Applied, Class::Callback),
    Cell::new(Point::C11, Fault::F10Status, Class::None),
    Cell::new(Point::C11, Fault::F13, Class::Callback),
    Cell::new(Point::C12, Fault::F6, Class::None),
    Cell::new(Point::C13, Fault::F11, Class::Lookup),
    Cell::new(Point::C13, Fault::F10Result, Class::None),
    Cell::new(Point::C14, Fault::F3Applied, Class::None),
    Cell::new(Point::C15, Fault::F1, Class::None),
    Cell::new(Point::C16, Fault::F1, Class::Lookup),
    Cell::new(Point::C16, Fault::F2, Class::None),
    Cell::new(Point::C15, Fault::F3Applied, Class::None),
    Cell::new(Point::C16, Fault::F12Error, Class::None),
    Cell::new(Point::C17, Fault::F1, Class::None),
    Cell::new(Point::C18, Fault::F2, Class::None),
    Cell::new(Point::C19, Fault::F1, Class::Idempotent),
];

/// Cells whose fault is the vendor's, or the receiver's, alone: the point hardly matters.
pub const VENDOR_CELLS: [Cell; 7] = [
    Cell::new(Point::C9, Fault::F12Hang, Class::None),
    Cell::new(Point::C14, Fault::F12Redirect, Class::None),
    Cell::new(Point::C12, Fault::F12Slow, Class::None),
    Cell::new(Point::C5, Fault::F10Reject, Class::None),
    Cell::new(Point::C5, Fault::F10Busy, Class::Lookup),
    Cell::new(Point::C6, Fault::F10ListLag, Class::Lookup),
    Cell::new(Point::C7, Fault::F10Error, Class::Idempotent),
];

/// The whole matrix: every combination that can be.
pub fn whole() -> Vec<Cell> {
    let mut cells = Vec::new();
    for class in Class::ALL {
        for point in Point::ALL {
            cells.extend(Fault::ALL.map(|fault| Cell::new(point, fault, class)));
        }
    }
    cells.extend(super::bucket::whole());
    cells.retain(|cell| cell.is_possible());
    cells
}
