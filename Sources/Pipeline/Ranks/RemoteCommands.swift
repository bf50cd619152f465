import Base
import Foundation
import Tune

/// Command lines that another rank runs, one after the other until one fails. Their folder is one that both ranks see.
struct RemoteCommands: Sent {
    /// Each with whether the status of a failed check is an answer of it and no failure.
    let commands: [(child: ChildCommand, isJudge: Bool)]

    init(_ commands: [(child: ChildCommand, isJudge: Bool)]) { self.commands = commands }

    init(from message: inout MessageReader) throws {
        let count = try message.number(Int.self)
        commands = try (0..<max(0, count)).map { _ in
            let child = ChildCommand(
                // The program of this host.
                executable: "/proc/\(getpid())/exe", arguments: try message.values(), folder: try message.text(),
                output: try message.text(), errors: try message.text())
            return (child, try message.bool())
        }
    }

    func write(to message: inout Message) {
        message.append(number: commands.count)
        for (child, isJudge) in commands {
            message.append(child.arguments)
            message.append(child.folder)
            message.append(child.output)
            message.append(child.errors)
            message.append(isJudge)
        }
    }

    /// Runs them here.
    func run(interrupt: InterruptFlag?) throws -> Outcomes {
        var result: [ChildCommand.Outcome] = []
        for (child, isJudge) in commands {
            let outcome = try child.run(interrupt: interrupt)
            result.append(outcome)
            let isAnswer = outcome.status == 0 || isJudge && outcome.status == MeraserError.Kind.checkFailed.rawValue
            if !isAnswer || interrupt?.isSet == true { break }
        }
        return Outcomes(outcomes: result)
    }

    /// How they ended.
    struct Outcomes: Sent {
        let outcomes: [ChildCommand.Outcome]

        init(outcomes: [ChildCommand.Outcome]) { self.outcomes = outcomes }

        init(from message: inout MessageReader) throws {
            let count = try message.number(Int.self)
            outcomes = try (0..<max(0, count)).map { _ in
                ChildCommand.Outcome(
                    status: try message.number(), seconds: try message.number(), peakRSSBytes: try message.number())
            }
        }

        func write(to message: inout Message) {
            message.append(number: outcomes.count)
            for outcome in outcomes {
                message.append(number: outcome.status)
                message.append(number: outcome.seconds)
                message.append(number: outcome.peakRSSBytes)
            }
        }
    }
}
