import Testing

@testable import Base

@Test(
    "byte counts are told in powers of 1024 and three digits",
    arguments: [
        (0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.00 KiB"), (10_188, "9.95 KiB"), (10_240, "10.0 KiB"),
        (200 << 20, "200 MiB"), (3_672_000_000, "3.42 GiB"), (5 << 40, "5.00 TiB"), (5000 << 40, "5000 TiB"),
    ])
func byteCounts(count: Int, text: String) { #expect(byteText(count) == text) }

@Test(
    "of a path the last component is published",
    arguments: [
        ("/home/me/model.mqf", "model.mqf"), ("models/tiny/", "tiny"), ("tiny", "tiny"), ("a//b", "b"), ("", ""),
        ("/", "/"),
    ])
func fileNames(path: String, name: String) { #expect(fileName(ofPath: path) == name) }
