"""HiGHS, CBC, SCIP or CP-SAT on a program in MPS (a minimisation): value, bound, and whether it was proven. argv: solver, file, gap, seconds, whole or lp."""

import json
import sys
import time

from stopwatch import _cpu


def highs(file, gap, seconds, whole):
    import highspy

    engine = highspy.Highs()
    engine.setOptionValue("output_flag", False)
    engine.readModel(file)
    for option, value in (("threads", 1), ("time_limit", seconds), ("mip_rel_gap", gap), ("solve_relaxation", not whole)):
        engine.setOptionValue(option, value)
    engine.run()
    info = engine.getInfo()
    found = info.primal_solution_status == 2
    return info.objective_function_value if found else None, info.mip_dual_bound if whole else None


def cbc(file, gap, seconds, whole):
    import mip

    model = mip.Model(solver_name=mip.CBC)
    model.verbose, model.threads = 0, 1
    model.read(file)
    model.max_mip_gap = gap
    model.optimize(max_seconds=seconds, relax=not whole)
    return model.objective_value, model.objective_bound


def scip(file, gap, seconds, whole):
    import pyscipopt

    model = pyscipopt.Model()
    model.hideOutput()
    model.readProblem(file)
    model.setParam("limits/gap", gap)
    model.setParam("limits/time", seconds)
    model.optimize()
    return model.getObjVal() if model.getNSols() else None, model.getDualbound()


def cpsat(file, gap, seconds, whole):
    from ortools.linear_solver.python import model_builder

    model = model_builder.Model()
    model.import_from_mps_file(file)
    solver = model_builder.Solver("sat")
    solver.set_time_limit_in_seconds(seconds)
    solver.set_solver_specific_parameters(f"num_workers:1,relative_gap_limit:{gap}")
    status = solver.solve(model)
    good = status in (model_builder.SolveStatus.OPTIMAL, model_builder.SolveStatus.FEASIBLE)
    return solver.objective_value if good else None, solver.best_objective_bound if good else None


if __name__ == "__main__":
    name, file, gap, seconds, kind = sys.argv[1:]
    cpu, wall = _cpu(), time.perf_counter()
    value, bound = {"highs": highs, "cbc": cbc, "scip": scip, "cpsat": cpsat}[name](
        file, float(gap), float(seconds), kind == "whole"
    )
    print(json.dumps({"cpu": _cpu() - cpu, "wall": time.perf_counter() - wall, "value": value, "bound": bound}))
