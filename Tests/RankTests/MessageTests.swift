import Foundation
import TestSupport
import Testing

@testable import Base

@Suite("What ranks tell each other")
struct MessageTests {
    @Test("a message is read as it was written")
    func message() throws {
        var message = Message(.step)
        message.append(number: -7)
        message.append(numbers: [1.5 as Float, -.infinity, -0])
        message.append("müde")
        message.append(["a", ""])
        message.append(optional: 3)
        message.append(optional: Int?.none)
        message.append(true)
        var reader = MessageReader(message.bytes)
        #expect(try reader.job() == .step)
        #expect(try reader.number(Int.self) == -7)
        let floats = try reader.numbers(Float.self)
        #expect(floats.map(\.bitPattern) == [1.5 as Float, -.infinity, -0].map(\.bitPattern))
        #expect(try reader.text() == "müde")
        #expect(try reader.values(String.self) == ["a", ""])
        #expect(try reader.optional(Int.self) == 3)
        #expect(try reader.optional(Int.self) == nil)
        #expect(try reader.bool())
        #expect(throws: MeraserError.self) { try reader.bool() }
    }

    @Test("a message that ends early or counts wrongly is an error", arguments: [-1, 3, Int.max, Int.max / 4])
    func damaged(count: Int) throws {
        var message = Message()
        message.append(number: count)
        message.append(number: 1 as Int32)
        var reader = MessageReader(message.bytes)
        #expect(throws: MeraserError.self) { try reader.numbers(Int32.self) }
    }

    @Test("work is dealt so that no share is much dearer than another, whole and in order")
    func deal() {
        let crew = Crew(ThreadRank.job(of: 3)[0])
        let costs = [9, 1, 1, 1, 8, 3, 3, 0, 0]
        let shares = crew.deal(costs: costs)
        #expect(shares.flatMap { $0 }.sorted() == Array(costs.indices))
        #expect(shares.allSatisfy { $0 == $0.sorted() })
        let sums = shares.map { $0.reduce(0) { $0 + costs[$1] } }
        #expect(sums.max() ?? 0 <= 10)
        #expect(crew.deal(costs: [5]) == [[0], [], []])
    }

    @Test("a launcher's variables")
    func variables() {
        #expect(launchedRanks([:]) == nil)
        #expect(launchedRanks(["OMPI_COMM_WORLD_SIZE": "4"]) == 4)
        #expect(launchedRanks(["SLURM_STEP_NUM_TASKS": "4"]) == nil)
        #expect(launchedRanks(["SLURM_STEP_NUM_TASKS": "4", "PMIX_RANK": "0"]) == 4)
        #expect(["OMPI_COMM_WORLD_RANK", "PMIX_RANK"].allSatisfy(isRankVariable))
        #expect(!["PATH", "OMP_NUM_THREADS", "MERASER_ISA"].contains(where: isRankVariable))
    }

    @Test("a job that was left in the middle makes every later one fail with the same error")
    func failure() throws {
        let crew = Crew(ThreadRank.job(of: 2)[0])
        try crew.send(Message(.step))
        crew.fail(MeraserError.runtime("first"))
        crew.fail(MeraserError.runtime("second"))
        #expect(throws: MeraserError.runtime("first")) { try crew.send(Message(.step)) }
    }
}
