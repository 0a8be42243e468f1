//! Title cards: exact, decodable, legible.

use longtake_media::{Picture, RenderError, TitleCard, probe, render_title_card, tiny_mp4};

use crate::tools::{Folder, decodes_silently, ffprobe, grey_frames, mean};

const TITLE: &str = "A lighthouse at dusk, waves breaking against the rocks";

fn card(width: u32, height: u32, fps: u32, seconds: u32) -> TitleCard<'static> {
    TitleCard { title: TITLE, width, height, fps, seconds, seed: 7, background: None }
}

fn render(card: &TitleCard<'_>) -> Vec<u8> {
    render_title_card(card, &mut |_, _| true).unwrap()
}

/// ffprobe, ffmpeg and our own probe say what was asked for.
fn exactly(bytes: &[u8], width: u32, height: u32, fps: u32, seconds: u32) {
    let folder = Folder::new();
    let path = folder.file("card.mp4");
    std::fs::write(&path, bytes).unwrap();
    let what = format!("{width}x{height}, {fps} fps, {seconds} s");
    let (frames, found_width, found_height, duration) = ffprobe(&path);
    assert_eq!((frames, found_width, found_height), (fps * seconds, width, height), "{what}");
    assert!((duration - f64::from(seconds)).abs() < 0.001, "{what}: ffprobe says {duration} s");
    decodes_silently(&path);
    let info = probe(&bytes.to_vec()).unwrap();
    assert_eq!((info.width, info.height, info.frames), (width, height, fps * seconds), "{what}");
    assert_eq!((info.duration_ms, info.codec.as_str(), info.has_audio), (u64::from(seconds) * 1000, "avc1", false));
}

#[test]
fn has_exactly_the_frames_size_and_length_asked_for() {
    let cards = [
        (2, 2, 1, 1),
        (2, 64, 60, 1),
        (64, 36, 60, 1),
        (66, 34, 7, 2),
        (16, 16, 12, 60),
        (320, 180, 24, 3),
        (854, 480, 25, 1),
        (720, 1280, 30, 1),
        (1280, 720, 24, 4),
        (3840, 2, 1, 2),
        (1920, 1080, 5, 1),
        (3840, 2160, 2, 1),
        (2160, 3840, 1, 1),
    ];
    for (width, height, fps, seconds) in cards {
        exactly(&render(&card(width, height, fps, seconds)), width, height, fps, seconds);
    }
}

#[test]
fn every_small_size_decodes() {
    for width in (2..=40).step_by(6) {
        for height in (2..=40).step_by(10) {
            exactly(&render(&card(width, height, 4, 1)), width, height, 4, 1);
        }
    }
}

#[test]
fn index_is_in_front() {
    let bytes = render(&card(320, 180, 24, 1));
    let at = |name: &[u8]| bytes.windows(4).position(|window| window == name).unwrap();
    assert!(at(b"moov") < at(b"mdat"));
}

#[test]
fn tells_progress_and_can_be_stopped() {
    let mut seen = Vec::new();
    render_title_card(&card(64, 36, 12, 2), &mut |done, total| {
        seen.push((done, total));
        true
    })
    .unwrap();
    assert_eq!(seen, (1..=24).map(|done| (done, 24)).collect::<Vec<_>>());

    let mut calls = 0;
    let stopped = render_title_card(&card(64, 36, 12, 2), &mut |done, _| {
        calls += 1;
        done < 5
    });
    assert!(matches!(stopped, Err(RenderError::Stopped)));
    assert_eq!(calls, 5);
}

#[test]
fn refuses_what_is_out_of_range() {
    let refused = [
        (0, 36, 24, 1),
        (63, 36, 24, 1),
        (64, 35, 24, 1),
        (3842, 2160, 24, 1),
        (3840, 2162, 24, 1),
        (64, 36, 0, 1),
        (64, 36, 61, 1),
        (64, 36, 24, 0),
        (64, 36, 24, 61),
    ];
    for (width, height, fps, seconds) in refused {
        let answer = render_title_card(&card(width, height, fps, seconds), &mut |_, _| true);
        assert!(matches!(answer, Err(RenderError::Invalid(_))), "{width}x{height}, {fps} fps, {seconds} s");
    }
}

#[test]
fn same_seed_same_bytes() {
    let first = render(&card(160, 90, 8, 1));
    assert_eq!(first, render(&card(160, 90, 8, 1)));
    assert_ne!(first, render(&TitleCard { seed: 8, ..card(160, 90, 8, 1) }));
}

/// Pixels as bright as the title's white.
fn bright(bytes: &[u8], frame: usize) -> usize {
    let frames = grey_frames(bytes, 640 * 360);
    frames[frame].iter().filter(|value| **value > 215).count()
}

#[test]
fn title_appears_and_stays() {
    let with = render(&card(640, 360, 12, 2));
    let without = render(&TitleCard { title: " \n\t", ..card(640, 360, 12, 2) });
    assert!(bright(&with, 23) > 4000, "{} bright pixels at the end", bright(&with, 23));
    assert!(bright(&with, 0) < bright(&with, 23) / 4);
    assert!(bright(&without, 23) < 100);
    // A card of one frame shows its words too.
    let single = render(&card(640, 360, 1, 1));
    assert!(bright(&single, 0) > 3000);
}

#[test]
fn picture_moves_from_frame_to_frame() {
    let frames = grey_frames(&render(&TitleCard { title: "", ..card(640, 360, 4, 3) }), 640 * 360);
    let differ = |a: &[u8], b: &[u8]| mean(&a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).collect::<Vec<_>>());
    assert!(differ(&frames[0], &frames[11]) > 1.0, "nothing moves");
    assert!(differ(&frames[5], &frames[6]) < 6.0, "it jumps");
}

#[test]
fn any_title_can_be_drawn() {
    let long = "A slow tracking shot through a night market in the rain. ".repeat(600);
    let titles = [
        &long[..32_000],
        &"Donaudampfschifffahrtsgesellschaft".repeat(40),
        "🦀 日本語 العربية עברית हिन्दी \u{0}\u{7}\u{200b}\u{feff}",
        "\u{301}\u{301}\u{301}",
        "x",
        "i",
        "…",
    ];
    for title in titles {
        for (width, height) in [(2, 2), (64, 36), (36, 64), (320, 180), (1280, 720)] {
            let bytes = render(&TitleCard { title, ..card(width, height, 1, 1) });
            assert_eq!(probe(&bytes).unwrap().frames, 1);
        }
    }
}

#[test]
fn long_titles_keep_their_distance_from_the_edges() {
    let long = "A slow tracking shot through a night market in the rain. ".repeat(600);
    for (width, height) in [(640_usize, 360_usize), (360, 640)] {
        let bytes = render(&TitleCard { title: &long, ..card(width as u32, height as u32, 1, 1) });
        let frame = &grey_frames(&bytes, width * height)[0];
        let bright = |x: usize, y: usize| frame[y * width + x] > 200;
        let inside = (0..width * height).filter(|at| bright(at % width, at / width)).count();
        let edge = |x: usize| x < width / 20 || x >= width - width / 20;
        let outside =
            (0..width * height * 3 / 4).filter(|at| edge(at % width) && bright(at % width, at / width)).count();
        assert!(inside > 2000 && outside == 0, "{width}x{height}: {inside} bright pixels, {outside} at the edge");
    }
}

#[test]
fn background_fills_the_frame() {
    // Left half dark, right half light, wider than the frame: the middle of it is shown, so the border stays.
    let (width, height) = (600_usize, 200_usize);
    let rgb = (0..width * height).flat_map(|at| [if at % width < width / 2 { 20_u8 } else { 230 }; 3]).collect();
    let picture = Picture { width: width as u32, height: height as u32, rgb };
    let bytes = render(&TitleCard { title: "", background: Some(&picture), ..card(640, 360, 6, 1) });
    exactly(&bytes, 640, 360, 6, 1);
    let frame = &grey_frames(&bytes, 640 * 360)[0];
    let column = |x: usize| mean(&(60..300).map(|y| frame[y * 640 + x]).collect::<Vec<_>>());
    assert!(column(100) < 40.0, "left: {}", column(100));
    assert!(column(540) > 90.0, "right: {}", column(540));
    assert!(column(360) > column(280) + 40.0, "the border is not in the middle");
}

#[test]
fn backgrounds_of_any_size() {
    for (width, height) in [(1, 1), (1, 500), (500, 1), (3, 2), (2000, 1500)] {
        let rgb = vec![120; (width * height * 3) as usize];
        let picture = Picture { width, height, rgb };
        for (to_width, to_height) in [(2, 2), (64, 36), (360, 640)] {
            let bytes = render(&TitleCard { background: Some(&picture), ..card(to_width, to_height, 2, 1) });
            assert_eq!(probe(&bytes).unwrap().frames, 2);
        }
    }
    let wrong = Picture { width: 10, height: 10, rgb: vec![0; 10] };
    let answer = render_title_card(&TitleCard { background: Some(&wrong), ..card(64, 36, 1, 1) }, &mut |_, _| true);
    assert!(matches!(answer, Err(RenderError::Invalid(_))));
}

#[test]
fn tiny_files_have_exactly_the_bytes_asked_for() {
    let plain = tiny_mp4(320, 180, 24, 2, None);
    exactly(&plain, 320, 180, 24, 2);
    for bytes in [plain.len() + 8, plain.len() + 9, 100_000, 3_000_000] {
        let padded = tiny_mp4(320, 180, 24, 2, Some(bytes));
        assert_eq!(padded.len(), bytes);
        exactly(&padded, 320, 180, 24, 2);
    }
    for bytes in [0, 10, plain.len(), plain.len() + 7] {
        assert_eq!(tiny_mp4(320, 180, 24, 2, Some(bytes)), plain);
    }
    // Out of range is brought into it.
    let odd = probe(&tiny_mp4(1, 7001, 0, 900, None)).unwrap();
    assert_eq!((odd.width, odd.height, odd.frames), (2, 3840, 60));
}
