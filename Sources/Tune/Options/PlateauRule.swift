import Base

/// `reduce_lr_on_plateau`: the rate falls by a factor when the loss on `eval_data` has not become lower so many times, as
/// torch's ReduceLROnPlateau with mode min decides it.
struct PlateauRule: Sendable, Equatable {
    /// How much lower than the lowest a loss has to be: by a share of it, or by that many nats.
    enum ThresholdMode: String, CaseIterable {
        case rel
        case abs
    }

    /// What the rate is multiplied by.
    var factor = 0.1
    /// Measurements without a lower loss that are put up with.
    var patience = 10
    var threshold = 1e-4
    var thresholdMode = ThresholdMode.rel
    /// Measurements after a fall that are not counted.
    var cooldown = 0
    /// The lowest rate.
    var floor = 0.0
    /// The least fall that is made.
    var eps = 1e-8

    /// Notes a loss; `state` has the rate of the steps from here on.
    func note(_ loss: Double, in state: inout PlateauState) {
        let bound =
            switch thresholdMode {
            case .rel: state.best * (1 - threshold)
            case .abs: state.best - threshold
            }
        if state.isNew || loss < bound {
            (state.best, state.bad) = (loss, 0)
        } else {
            state.bad += 1
        }
        state.isNew = false
        if state.cooldown > 0 { (state.cooldown, state.bad) = (state.cooldown - 1, 0) }
        guard state.bad > patience else { return }
        let lower = max(state.rate * factor, floor)
        if state.rate - lower > eps { state.rate = lower }
        (state.cooldown, state.bad) = (cooldown, 0)
    }
}

/// Where a run stands with `reduce_lr_on_plateau`.
struct PlateauState: Equatable {
    /// The rate of the next step.
    var rate: Double
    /// The loss that others are measured by.
    var best = 0.0
    /// Measurements since then, and measurements that are not counted yet.
    var bad = 0
    var cooldown = 0
    /// True until a loss was noted.
    var isNew = true

    /// Before the first measurement.
    init(rate: Double) { self.rate = rate }

    /// In torch's words.
    var json: JSONValue {
        [
            "last_lr": .real(rate), "best": isNew ? .null : .real(best), "num_bad_epochs": .integer(bad),
            "cooldown_counter": .integer(cooldown),
        ]
    }

    /// Reads what `json` wrote.
    init(json: JSONValue, file: String) throws {
        rate = try json.double("last_lr", in: file)
        (bad, cooldown) = (try json.int("num_bad_epochs", in: file), try json.int("cooldown_counter", in: file))
        (best, isNew) = (json["best"]?.double ?? 0, json["best"]?.double == nil)
        guard (0...10).contains(rate), bad >= 0, cooldown >= 0, best.isFinite else {
            throw MeraserError.badInput("\(file): last_lr, best, num_bad_epochs or cooldown_counter is impossible")
        }
    }
}
