"""The torture: a whole installation under every fault at once, and a judge who trusts nobody.

    python -m tests.faults.torture --seconds 60 --seed 7

Real processes, one installation: Postgres with fsync, a broker, Celery workers, three beats, intake
over the broker and over HTTP, and callers of ``stage``. One seed throws all dice: who dies where,
who is frozen, what Pinterest does, who enters and leaves which audience. It does not fix the order
in which processes run, so a seed repeats a run in kind, not to the letter.

    people      who enters and leaves, and what was said of them, call by call
    upstream    the four kinds of callers: direct, HTTP, messages, messages that come again
    ground      the servers and processes; whoever dies is started again
    haunted     workers whose children die or freeze at commits and in mid-request
    pinterest   what Pinterest does wrong, from mood to mood
    torturer    kills, freezes, crashes, wipes, restarts; lets what is held go on, as a person would
    witness     what Postgres committed, written down by triggers in the same transactions
    reckoning   from the witness: what each upload must carry
    stalls      when the simulated Pinterest itself got no turn
    judge       from Pinterest's history, the witness and the books: what was violated
"""
