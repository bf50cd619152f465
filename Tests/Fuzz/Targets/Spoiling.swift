/// What became of spoilt files.
public struct Spoilt: Sendable, CustomStringConvertible {
    /// Files that were accepted all the same.
    public var accepted = 0
    /// Files that were refused with one clear line.
    public var refused = 0

    /// Both, in a line.
    public var description: String { "\(accepted + refused) spoilt files, \(accepted) accepted, \(refused) refused" }
}

extension FuzzTarget {
    /// Flips bits of every seed and cuts it: each file is accepted, or refused with one clear line.
    ///
    /// - Parameter step: every how many bits and lengths; 1: every one.
    /// - Throws: a finding, with the place.
    public func spoilt(in scratch: Scratch, step: Int = 1) throws -> Spoilt {
        var result = Spoilt()
        for (number, seed) in try acceptedSeeds(in: scratch).enumerated() {
            func attempt(_ bytes: [UInt8], _ place: String) throws {
                do {
                    if try accepts(bytes, in: scratch) { result.accepted += 1 } else { result.refused += 1 }
                } catch let finding as FuzzFinding {
                    throw FuzzFinding(what: "seed \(number), \(place): \(finding)")
                }
            }
            var bytes = seed
            for bit in stride(from: 0, to: seed.count * 8, by: step) {
                bytes[bit / 8] ^= 1 << (bit % 8)
                try attempt(bytes, "bit \(bit)")
                bytes[bit / 8] = seed[bit / 8]
            }
            for length in stride(from: 0, to: seed.count, by: step) {
                try attempt(Array(seed[..<length]), "cut at \(length)")
            }
        }
        return result
    }
}
