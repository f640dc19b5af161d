"""The budget of bytes: shares, the total, strangers, and whose the bytes are."""

from __future__ import annotations

from pathlib import Path

import pytest

from imageserver import metrics
from imageserver.limits import GIB, MIB, TABLE, Limits
from imageserver.transport.budget import Account, Budget, Spare, owner_of
from imageserver.transport.memory import memory_of_machine


class Run:
    """A budget of 2000 bytes, with shares of 400 and 200 bytes for strangers."""

    def __init__(self, *, login_required: bool = False) -> None:
        self.lines: list[str] = []
        self.now = 0.0
        limits = Limits(memory_budget=2000, memory_share=400, memory_strangers=200)
        self.budget = Budget(limits, login_required=login_required, log=self.lines.append, clock=lambda: self.now)

    def account(self, address: str = "10.0.0.1", used: int = 0) -> Account:
        account = self.budget.account(address)
        assert account.charge("bodies").set(used)
        return account


def hits(name: str) -> float:
    return metrics.LIMITS_HIT.child(TABLE[name].label or name.replace("_", "-")).value


def test_one_address_has_a_share_over_all_its_connections() -> None:
    run, before = Run(), hits("memory_share")
    first, second = run.account(used=300), run.account()
    charge = second.charge("frames")
    assert not charge.set(101)
    assert (charge.size, hits("memory_share")) == (0, before + 1)
    assert charge.set(100)
    assert run.account("10.0.0.2").charge("frames").set(300), "another address has its own"
    assert run.budget.used == 700
    assert run.budget.used_for == {"bodies": 300, "frames": 400}
    first.close()
    assert charge.set(400)


def test_all_together_have_the_total_and_leave_room_for_the_next_one() -> None:
    run, before = Run(), hits("memory_budget")
    for number, most in enumerate((400, 400, 400, 400, 200, 100, 50)):
        charge = run.account(f"10.0.0.{number}").charge("bodies")
        assert not charge.set(most + 1)
        assert charge.set(most)
    assert hits("memory_budget") == before + 4, "the first three ran into their shares"
    assert run.budget.used == 1950


def test_less_is_always_possible_and_close_gives_everything_back() -> None:
    run = Run()
    account = run.account(used=400)
    charge = account.charge("frames")
    assert not charge.set(1)
    assert charge.set(0)
    account.close()
    assert (run.budget.used, account.used, run.budget.used_for["bodies"]) == (0, 0, 0)
    assert not account.charge("bodies").set(1), "nothing is charged to it any more"
    account.close()
    assert run.budget.used == 0


def test_strangers_have_a_pool_together_and_each_address_three_quarters_of_it() -> None:
    run = Run(login_required=True)
    one = run.account("10.0.0.1", 150)
    assert not one.fits(1)
    run.account("10.0.0.2", 50)
    assert not run.budget.account("10.0.0.3").fits(1)
    assert run.budget.account("10.0.0.3", admitted=True).fits(400)


def test_who_logs_in_takes_along_what_it_has_and_has_a_share() -> None:
    run = Run(login_required=True)
    stranger = run.account("10.0.0.1", 150)
    charge = stranger.charge("frames")
    assert not charge.set(1)
    stranger.belongs_to("anna")
    assert (stranger.owner, run.budget.used_by_strangers) == ("user anna", 0)
    assert charge.set(250)
    assert not charge.set(251)
    other = run.account("10.0.0.2", 50)
    other.belongs_to("anna")
    assert not other.fits(1), "the share is the user's, from wherever"
    request = run.budget.account("10.0.0.2")
    request.join(stranger)
    assert (request.owner, request.fits(1)) == ("user anna", False)
    keyed = run.account("10.0.0.7", 100)
    keyed.admit()
    assert keyed.fits(300)
    for account in (stranger, other, keyed):
        account.close()
    assert (run.budget.used, run.budget.used_by_strangers) == (0, 0)


def test_refusals_are_told_now_and_then() -> None:
    run = Run()
    account = run.account()
    for _ in range(5):
        assert not account.fits(401)
    assert run.lines == ["address 10.0.0.1 was refused 401 bytes of memory (--memory-share)"]
    run.now = 11
    assert not account.fits(401)
    assert run.lines[1:] == [
        "address 10.0.0.1 was refused 401 bytes of memory, and 4 more were since the last such line (--memory-share)"
    ]


@pytest.mark.parametrize(
    ("address", "owner"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("no:address", "no:address"),
    ],
)
def test_owners(address: str, owner: str) -> None:
    assert owner_of(address) == f"address {owner}"


@pytest.mark.parametrize(
    ("memory", "total"), [(GIB, 256 * MIB), (16 * GIB, 2 * GIB), (23 * GIB + 7, 23 * GIB // 8), (512 * GIB, 4 * GIB)]
)
def test_the_default_is_a_part_of_the_memory(memory: int, total: int) -> None:
    budget = Budget(Limits(), log=print, memory=lambda: memory)
    assert (budget.total, budget.share) == (total, total // 4)


def test_the_memory_of_a_container(tmp_path: Path) -> None:
    proc = tmp_path / "cgroup"
    whole = memory_of_machine(proc, tmp_path)
    assert whole > 64 * MIB
    service = tmp_path / "system.slice" / "imageserver.service"
    service.mkdir(parents=True)
    (service / "memory.max").write_text("max\n")
    (tmp_path / "system.slice" / "memory.max").write_text(f"{32 * MIB}\n")
    proc.write_text("1:cpu:/\n0::/system.slice/imageserver.service\n")
    assert memory_of_machine(proc, tmp_path) == 32 * MIB
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{16 * MIB}\n")
    proc.write_text("4:cpu,memory:/docker/abc\n0::/\n")
    assert memory_of_machine(proc, tmp_path) == 16 * MIB, "in a container its group is mounted as the root"


def spare(account: Account, size: int, gone: list[str], name: str = "") -> Spare:
    found = account.spare("newest", lambda: gone.append(name))
    assert found.set(size)
    return found


def test_what_is_spare_gives_way_to_what_is_needed_the_oldest_first() -> None:
    run, gone, before = Run(), list[str](), hits("memory_share")
    account, other = run.account(), run.account("10.0.0.2")
    first, second = spare(account, 100, gone, "first"), spare(account, 100, gone, "second")
    others = spare(other, 100, gone, "other's")
    assert not run.account().spare("newest", lambda: None).set(250), "nothing gives way to what is spare itself"
    assert first.set(110)
    charge = account.charge("frames")
    assert charge.set(200)
    assert gone == ["second"], "the first one is newer by now"
    assert (first.size, second.size, others.size) == (110, 0, 100)
    assert charge.set(400)
    assert gone == ["second", "first"]
    assert run.budget.used_for == {"newest": 100, "frames": 400}
    assert hits("memory_share") == before
    assert not charge.set(401)
    assert others.size == 100, "nothing of others gives way to who is over the own share"


def test_what_is_spare_of_anybody_gives_way_where_all_have_too_much() -> None:
    run, gone = Run(), list[str]()
    for number in range(1, 4):
        spare(run.account(f"10.0.0.{number}"), 380, gone, str(number))
    assert run.account("10.0.0.9").charge("bodies").set(400)
    assert gone == []
    assert run.account("10.0.0.8").charge("bodies").set(400)
    assert gone == ["1", "2"] or gone == ["1"]
    assert not run.account("10.0.0.7").charge("bodies").set(2000)
    assert len(gone) < 3, "nothing gives way in vain"


def test_what_is_spare_goes_with_its_account_and_with_a_login() -> None:
    run, gone = Run(), list[str]()
    account = run.account()
    kept = spare(account, 100, gone)
    account.belongs_to("anna")
    assert (kept.size, gone, run.budget.used) == (0, [""], 0)
    assert kept.set(100)
    account.close()
    assert (kept.size, gone, run.budget.used) == (0, ["", ""], 0)
    assert not kept.set(100)
    assert kept.set(0)
    assert run.budget._spares == run.budget._spare_by == {}


def test_nothing_is_kept_for_strangers() -> None:
    run = Run(login_required=True)
    assert not run.account().spare("newest", lambda: None).set(1)
