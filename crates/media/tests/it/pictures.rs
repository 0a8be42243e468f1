//! Thumbnails and sheets show what is in the video; input images are decoded within limits.

use longtake_media::{Picture, PictureError, decode_picture, sniff_image, spritesheet, thumbnail, tiny_mp4};

use crate::tools::{Folder, ffmpeg, made, mean};

/// Mean of each channel over a part of a picture.
fn colour(picture: &Picture, left: u32, top: u32, width: u32, height: u32) -> [f64; 3] {
    [0, 1, 2].map(|channel| {
        let values: Vec<u8> = (top..top + height)
            .flat_map(|y| (left..left + width).map(move |x| (y, x)))
            .map(|(y, x)| picture.rgb[((y * picture.width + x) * 3 + channel) as usize])
            .collect();
        mean(&values)
    })
}

fn close(found: [f64; 3], wanted: [f64; 3]) -> bool {
    found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 7.0)
}

/// Four fields of colour; the numbers are what was put in.
const COLOURS: [([f64; 3], &str); 3] =
    [([200.0, 40.0, 40.0], "0xc82828"), ([40.0, 160.0, 60.0], "0x28a03c"), ([50.0, 70.0, 190.0], "0x3246be")];

/// Bars of known colours, in the colour system that the size implies or that is written down.
fn bars(width: u32, height: u32, rest: &[&str]) -> Vec<u8> {
    let third = width / 3;
    let inputs: Vec<String> = COLOURS
        .iter()
        .map(|(_, name)| format!("color=c={name}:size={third}x{height}:rate=12:duration=1,format=gbrp"))
        .collect();
    let matrix = if height > 576 { "bt709" } else { "bt601" };
    let graph = format!("[0][1][2]hstack=inputs=3,scale=out_color_matrix={matrix}:out_range=tv,format=yuv420p");
    let inputs: Vec<&str> = inputs.iter().flat_map(|input| ["-f", "lavfi", "-i", input]).collect();
    made(&[&inputs[..], &["-filter_complex", &graph, "-c:v", "libx264", "-crf", "10"], rest].concat(), "bars.mp4")
}

#[test]
fn thumbnail_shows_the_colours_of_the_video() {
    for (width, height, wanted) in [(1440, 720, (640, 320)), (480, 240, (480, 240)), (360, 720, (320, 640))] {
        let bytes = thumbnail(&bars(width, height, &[])).unwrap();
        assert_eq!(sniff_image(&bytes), Some("image/webp"));
        let picture = decode_picture(&bytes).unwrap();
        assert_eq!((picture.width, picture.height), wanted);
        let third = picture.width / 3;
        for (index, (wanted, name)) in COLOURS.iter().enumerate() {
            let found =
                colour(&picture, third * index as u32 + third / 4, picture.height / 4, third / 2, picture.height / 2);
            assert!(close(found, *wanted), "{width}x{height}, {name}: {found:?}");
        }
    }
}

#[test]
fn b_frames_and_high_profile() {
    let arguments = ["-profile:v", "high", "-bf", "3", "-preset", "slow", "-g", "250"];
    let picture = decode_picture(&thumbnail(&bars(480, 240, &arguments)).unwrap()).unwrap();
    assert!(close(colour(&picture, 40, 60, 80, 120), COLOURS[0].0));
}

#[test]
fn a_black_beginning_is_passed_over() {
    // One key frame for all: the picture has to be decoded up to.
    for keys in ["250", "12"] {
        let graph = "color=black:size=320x180:rate=24:duration=1[a];testsrc2=size=320x180:rate=24:duration=3[b];[a][b]concat,format=yuv420p";
        let arguments = ["-filter_complex", graph, "-c:v", "libx264", "-g", keys, "-sc_threshold", "0"];
        let picture = decode_picture(&thumbnail(&made(&arguments, "late.mp4")).unwrap()).unwrap();
        assert!(mean(&picture.rgb) > 60.0, "mean {}", mean(&picture.rgb));
    }
    // All black is still a picture.
    let black = made(
        &["-f", "lavfi", "-i", "color=black:size=320x180:rate=24:duration=1", "-c:v", "libx264", "-pix_fmt", "yuv420p"],
        "black.mp4",
    );
    assert!(mean(&decode_picture(&thumbnail(&black).unwrap()).unwrap().rgb) < 3.0);
}

#[test]
fn sheet_runs_through_the_video() {
    // Brighter from frame to frame.
    let graph = "color=black:size=320x180:rate=16:duration=4,geq=lum='30+N*3':cb=128:cr=128,format=yuv420p";
    let video = made(&["-f", "lavfi", "-i", graph, "-c:v", "libx264", "-g", "250"], "ramp.mp4");
    let bytes = spritesheet(&video).unwrap();
    assert_eq!(sniff_image(&bytes), Some("image/jpeg"));
    let sheet = decode_picture(&bytes).unwrap();
    assert_eq!((sheet.width, sheet.height), (1280, 720));
    let tiles: Vec<f64> =
        (0..16).map(|tile| colour(&sheet, tile % 4 * 320 + 40, tile / 4 * 180 + 40, 200, 100)[0]).collect();
    for pair in tiles.windows(2) {
        assert!((pair[1] - pair[0] - 14.0).abs() < 6.0, "uneven: {tiles:?}");
    }
}

#[test]
fn sheets_of_short_videos() {
    for (frames, wanted) in
        [(1, (64, 36)), (2, (128, 36)), (4, (128, 72)), (5, (192, 72)), (9, (192, 108)), (10, (256, 108))]
    {
        let sheet = decode_picture(&spritesheet(&tiny_mp4(64, 36, frames, 1, None)).unwrap()).unwrap();
        assert_eq!((sheet.width, sheet.height), wanted, "{frames} frames");
    }
    let smallest = decode_picture(&thumbnail(&tiny_mp4(2, 2, 1, 1, None)).unwrap()).unwrap();
    assert_eq!((smallest.width, smallest.height), (2, 2));
}

#[test]
fn other_codecs_are_unsupported() {
    let codecs: [(&str, &[&str]); 3] = [
        ("hev1", &["-c:v", "libx265", "-x265-params", "log-level=none"]),
        ("vp09", &["-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime"]),
        ("mp4v", &["-c:v", "mpeg4"]),
    ];
    for (name, arguments) in codecs {
        let input = ["-f", "lavfi", "-i", "testsrc2=size=192x108:rate=12:duration=1"];
        let bytes = made(&[&input[..], arguments, &["-pix_fmt", "yuv420p"]].concat(), "other.mp4");
        for answer in [thumbnail(&bytes), spritesheet(&bytes)] {
            let Err(PictureError::Unsupported(words)) = answer else { panic!("{name}: {answer:?}") };
            assert!(words.contains(name), "{words}");
        }
    }
    let interlaced = made(
        &[
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=192x108:rate=12:duration=1",
            "-c:v",
            "libx264",
            "-pix_fmt",
            "yuv420p",
            "-flags",
            "+ilme+ildct",
        ],
        "interlaced.mp4",
    );
    assert!(matches!(thumbnail(&interlaced), Err(PictureError::Unsupported(_))));
}

#[test]
fn input_images() {
    let folder = Folder::new();
    for (name, kind, options) in [
        ("a.png", "image/png", &[][..]),
        ("a.jpg", "image/jpeg", &["-q:v", "2"][..]),
        ("a.webp", "image/webp", &["-quality", "95"][..]),
    ] {
        let path = folder.file(name);
        let input = ["-f", "lavfi", "-i", "color=c=0xc82828:size=90x60", "-frames:v", "1"];
        ffmpeg(&[&input[..], options, &[path.to_str().unwrap()]].concat());
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(sniff_image(&bytes), Some(kind));
        let picture = decode_picture(&bytes).unwrap();
        assert_eq!((picture.width, picture.height, picture.rgb.len()), (90, 60, 90 * 60 * 3));
        assert!(close(colour(&picture, 10, 10, 70, 40), COLOURS[0].0), "{name}");
        for length in [8, 20, bytes.len() / 2] {
            assert!(decode_picture(&bytes[..length]).is_err() || name == "a.jpg", "{length} bytes of {name} pass");
        }
    }
}

#[test]
fn photographs_are_turned_upright() {
    let plain = made(&["-f", "lavfi", "-i", "color=c=red:size=90x60", "-frames:v", "1"], "a.jpg");
    // Orientation 6: the camera was held on its side.
    let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let turned = [&plain[..2], &exif[..], &plain[2..]].concat();
    let picture = decode_picture(&turned).unwrap();
    assert_eq!((picture.width, picture.height), (60, 90));
}

#[test]
fn transparency_becomes_black() {
    let png = made(&["-f", "lavfi", "-i", "color=c=white@0.5:size=16x16,format=rgba", "-frames:v", "1"], "a.png");
    let picture = decode_picture(&png).unwrap();
    assert!((120.0..136.0).contains(&mean(&picture.rgb)), "mean {}", mean(&picture.rgb));
}

#[test]
fn bombs_and_other_formats_are_refused() {
    let mut png = made(&["-f", "lavfi", "-i", "color=c=red:size=16x16", "-frames:v", "1"], "a.png");
    png[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
    png[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
    assert!(decode_picture(&png).is_err());
    for bytes in [&b""[..], b"GIF89a", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"RIFF\0\0\0\0WAVE"] {
        assert_eq!(sniff_image(bytes), None);
        assert!(matches!(decode_picture(bytes), Err(PictureError::Unsupported(_))));
    }
}
