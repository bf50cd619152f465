import Base
import Foundation
import Kernels

/// What a rank is.
struct Introduction: Sent {
    /// Its host's name.
    let host: String
    /// Its program.
    let build: JSONValue
    /// True if it has rank 0's instruction set.
    let hasISA: Bool

    /// This rank, which is asked for that instruction set.
    init(isa: String) {
        host = ProcessInfo.processInfo.hostName
        build = Build.current.json
        hasISA = KernelContext.availableISANames.contains(isa)
    }

    init(from message: inout MessageReader) throws {
        host = try message.text()
        build = try JSONValue.parse(Array(message.text().utf8), file: "a rank's introduction")
        hasISA = try message.bool()
    }

    func write(to message: inout Message) {
        message.append(host)
        message.append(build.serialized())
        message.append(hasISA)
    }
}

extension Crew {
    /// Has the others compute as rank 0 does, on its instruction set.
    ///
    /// - Throws: a usage error that names the first rank whose program or CPU may compute other numbers.
    public func requireAlike(isa: String) throws {
        var job = Message(.introduce)
        job.append(isa)
        try send(job)
        for rank in others {
            var reader = try answer(of: rank)
            let found = try reader.value(Introduction.self)
            if let obstacle = Build(record: found.build).obstacle(continuing: .current) {
                throw MeraserError.usage(
                    "rank \(rank) on \(found.host) is another program than rank 0: \(obstacle); install the same one "
                        + "everywhere")
            }
            guard found.hasISA else {
                throw MeraserError.usage(
                    "rank \(rank) on \(found.host) has no \(isa), which rank 0 computes on, and would round otherwise; set "
                        + "MERASER_ISA to what all of them have")
            }
        }
    }
}
