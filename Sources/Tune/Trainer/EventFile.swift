import Base
import Foundation
import Quant

/// A program that a training also writes for (`report_to`).
public enum ReportTarget: String, Sendable, CaseIterable {
    /// None.
    case none
    /// TensorBoard's event files, in the folder `runs` of the output.
    case tensorboard
}

/// An event file of TensorBoard: scalars by step, as the run goes.
///
/// A file is a row of TFRecords (length, masked CRC32C of the length, data, masked CRC32C of the data; all little-endian),
/// each an `Event` of tensorflow/core/util/event.proto in protobuf's wire format. A run that goes on writes a file of its
/// own, whose first events say from which step: TensorBoard then drops what an earlier file has beyond it.
struct EventFile {
    /// The folder of these files in that of a run.
    static let folder = "runs"

    private let file: AppendedFile

    /// Makes the file of a session that begins behind so many steps.
    ///
    /// - Parameter time: now, in seconds since 1970.
    /// - Throws: a run-time error if it cannot be written.
    init(folder: String, firstStep: Int, time: Double = Date().timeIntervalSince1970) throws {
        do {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        } catch {
            throw MeraserError.runtime("cannot make the folder \(folder): \(error.localizedDescription)")
        }
        // TensorBoard reads files in the order of their names.
        let name = "events.out.tfevents.\(Int(time)).meraser.\(firstStep)"
        let version = Self.event(time: time, step: 0, field: .init(3, text: "brain.Event:2"))
        let status = ProtobufField(1, integer: 1)  // SessionLog.START
        let start = Self.event(time: time, step: firstStep + 1, field: .init(7, message: status.bytes))
        let beginning = firstStep > 0 ? [version, start] : [version]
        file = try AppendedFile(path: "\(folder)/\(name)", beginning: beginning.flatMap(Self.record))
    }

    /// Writes values of a step.
    ///
    /// - Throws: a run-time error if they could not be written.
    func append(step: Int, _ scalars: [(tag: String, value: Double)], time: Double = Date().timeIntervalSince1970)
        throws
    {
        let values = scalars.flatMap { tag, value in
            ProtobufField(1, message: ProtobufField(1, text: tag).bytes + ProtobufField(2, float: Float(value)).bytes)
                .bytes
        }
        try file.append(Self.record(Self.event(time: time, step: step, field: .init(5, message: values))))
    }

    /// An `Event`: wall_time, step, and what it is about.
    private static func event(time: Double, step: Int, field: ProtobufField) -> [UInt8] {
        // Zero goes without saying in proto3.
        let step = step > 0 ? ProtobufField(2, integer: UInt64(step)).bytes : []
        return ProtobufField(1, double: time).bytes + step + field.bytes
    }

    /// A TFRecord.
    private static func record(_ data: [UInt8]) -> [UInt8] {
        let length = littleEndian(UInt64(data.count))
        return length + littleEndian(masked(length)) + data + littleEndian(masked(data))
    }

    /// A CRC32C as TFRecords have it: sums of sums are not taken for those of data.
    private static func masked(_ bytes: [UInt8]) -> UInt32 {
        let sum = bytes.withUnsafeBytes { crc32c($0) }
        return (sum >> 15 | sum << 17) &+ 0xA282_EAD8
    }

    private static func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }
}

/// A field of a message in protobuf's wire format: key and value.
private struct ProtobufField {
    let bytes: [UInt8]

    private init(_ number: UInt64, type: UInt64, _ value: [UInt8]) { bytes = Self.varint(number << 3 | type) + value }

    init(_ number: UInt64, integer: UInt64) { self.init(number, type: 0, Self.varint(integer)) }

    init(_ number: UInt64, double: Double) {
        self.init(number, type: 1, withUnsafeBytes(of: double.bitPattern.littleEndian) { Array($0) })
    }

    init(_ number: UInt64, message: [UInt8]) {
        self.init(number, type: 2, Self.varint(UInt64(message.count)) + message)
    }

    init(_ number: UInt64, text: String) { self.init(number, message: Array(text.utf8)) }

    init(_ number: UInt64, float: Float) {
        self.init(number, type: 5, withUnsafeBytes(of: float.bitPattern.littleEndian) { Array($0) })
    }

    /// Seven bits a byte, the lowest first.
    private static func varint(_ value: UInt64) -> [UInt8] {
        var (rest, bytes) = (value, [UInt8]())
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        return bytes + [UInt8(rest)]
    }
}
