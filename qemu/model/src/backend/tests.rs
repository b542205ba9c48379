// SPDX-License-Identifier: GPL-2.0 OR MIT

use std::sync::atomic::AtomicU32;

use super::*;

/// A card that remembers the last write, and who has been reset how often.
struct Card {
    host: Host,
    last: Mutex<(u8, u64, usize, u64)>,
    resets: AtomicU32,
    master_at_reset: AtomicBool,
}

impl Model for Card {
    fn identity() -> Identity {
        Identity {
            vendor: 1,
            device: 2,
            revision: 3,
            class: 0x118000,
            bars: vec![Bar::new(0, 4096), Bar::registers(2, 64)],
            vectors: 4,
        }
    }

    fn read(&self, bar: u8, offset: u64, size: usize) -> u64 {
        0x1122_3344_5566_7788 + u64::from(bar) + offset + ((size as u64) << 8)
    }

    fn write(&self, bar: u8, offset: u64, size: usize, value: u64) {
        *lock(&self.last) = (bar, offset, size, value);
    }

    fn reset(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
        let master = self.host.is_bus_master();
        self.master_at_reset.store(master, Ordering::Relaxed);
    }
}

const CONFIG: u32 = vfio::VFIO_PCI_CONFIG_REGION_INDEX;

fn card() -> (Backend<Card>, Report) {
    let report = Report::default();
    let make = |host| {
        Ok(Card {
            host,
            last: Mutex::new((9, 0, 0, 0)),
            resets: AtomicU32::new(0),
            master_at_reset: AtomicBool::new(false),
        })
    };
    let session = Session::new(&Card::identity(), &report, make).expect("a card");
    (Backend(Arc::new(session)), report)
}

#[test]
fn registers_are_the_models() -> io::Result<()> {
    let (mut backend, report) = card();
    let mut data = [0; 4];
    backend.region_read(2, 8, &mut data)?;
    assert_eq!(u32::from_le_bytes(data), 0x5566_7788 + 2 + 8 + 0x400);
    backend.region_write(0, 0x40, &[1, 2])?;
    assert_eq!(*lock(&backend.0.model.last), (0, 0x40, 2, 0x0201));
    backend.region_write(0, 4088, &[1, 2, 3, 4, 5, 6, 7, 8])?;
    let last = *lock(&backend.0.model.last);
    assert_eq!(last, (0, 4088, 8, 0x0807_0605_0403_0201));
    assert_eq!(report.get().count, 0);
    Ok(())
}

#[test]
fn what_is_no_access_of_a_register_is_a_violation() -> io::Result<()> {
    let (mut backend, report) = card();
    let before = *lock(&backend.0.model.last);
    let accesses = [
        (0, 4093, 4),
        (0, u64::MAX, 8),
        (0, 0, 3),
        (0, 0, 16),
        (1, 0, 1),
        (2, 64, 4),
        (2, 2, 4),
        (2, 8, 8),
        (2, 8, 1),
    ];
    for (region, offset, length) in accesses {
        backend.region_write(region, offset, &vec![1; length])?;
        let mut data = vec![0xff; length];
        backend.region_read(region, offset, &mut data)?;
        assert_eq!(data, vec![0; length], "{region} {offset:#x}");
    }
    assert_eq!(*lock(&backend.0.model.last), before);
    let found = report.get();
    assert_eq!(found.count, 2 * accesses.len() as u64);
    assert!(found.violations.iter().all(|one| one.rule == "access"));
    Ok(())
}

#[test]
fn the_model_sees_the_bus_master_bit_and_resets() -> io::Result<()> {
    let (mut backend, _) = card();
    let session = backend.0.clone();
    backend.region_write(CONFIG, 4, &[4, 0])?;
    assert!(session.host.is_bus_master());
    backend.region_write(CONFIG, 4, &[0, 0])?;
    assert!(!session.host.is_bus_master());
    for reset in 1..=2 {
        backend.region_write(CONFIG, 4, &[4, 0])?;
        match reset {
            1 => backend.reset()?,
            // Control of the capability Advanced Features.
            _ => backend.region_write(CONFIG, 0x44, &[1])?,
        }
        assert_eq!(session.model.resets.load(Ordering::Relaxed), reset);
        assert!(session.model.master_at_reset.load(Ordering::Relaxed));
        assert!(!session.host.is_bus_master());
        let mut command = [0xff; 2];
        backend.region_read(CONFIG, 4, &mut command)?;
        assert_eq!(command, [0; 2]);
    }
    Ok(())
}

#[test]
fn memory_that_cannot_be_mapped_is_found_when_it_is_used() -> io::Result<()> {
    let (mut backend, report) = card();
    let host = backend.0.host.clone();
    backend.region_write(CONFIG, 4, &[4, 0])?;
    backend.dma_map(DmaMapFlags::READ_WRITE, 0, 0x1000, 0x1000, None)?;
    assert_eq!(report.get().count, 0);
    assert!(host.load(0x1000).is_err());
    backend.dma_unmap(DmaUnmapFlags::UNMAP_ALL, 0, 0)?;
    assert!(host.load(0x1000).is_err());
    let texts: Vec<String> = report
        .get()
        .violations
        .into_iter()
        .map(|one| one.text)
        .collect();
    assert!(texts[0].contains("share=on"), "{texts:?}");
    assert!(texts[1].contains("nothing is given"), "{texts:?}");
    Ok(())
}

#[test]
fn the_client_is_told_what_there_is() {
    let sizes: Vec<u64> = regions(&Card::identity())
        .iter()
        .map(|region| region.region_info.size)
        .collect();
    assert_eq!(sizes, [4096, 0, 64, 0, 0, 0, 0, 256, 0]);
    let counts: Vec<u32> = interrupts(&Card::identity())
        .iter()
        .map(|interrupt| interrupt.count)
        .collect();
    assert_eq!(counts, [0, 4, 0, 1, 0]);
}
