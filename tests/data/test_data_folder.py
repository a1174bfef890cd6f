"""Folders of one's own become infos, clouds and a database."""

import json

import numpy as np
import pytest
from mmengine.fileio import load

from padre3d.data.datasets import NuScenesSweepsDataset
from padre3d.data.folder import folder_frames, past_frames, read_split, split_frames
from padre3d.data.frames import Frame, read_labels
from padre3d.data.loading import LoadSweeps
from padre3d.data.prepare_frames import prepare_frames
from padre3d.io.frames import InputFrame
from padre3d.io.options import ReadOptions

PREFIX = dict(pts="samples/LIDAR_TOP", sweeps="sweeps/LIDAR_TOP")
HEADER = "frame,name,x,y,z,l,w,h,yaw,vx,vy,track"


def cloud(path, centre=(5.0, 2.0, -0.8), count=40, seed=0):
    """Points in a box of 4 x 2 x 1.6 m around the centre, and as many elsewhere."""
    rng = np.random.default_rng(seed)
    inside = (rng.random((count, 3)) - 0.5) * (4, 2, 1.6) * 0.9 + centre
    outside = np.column_stack([rng.uniform(20, 40, (count, 2)), np.full(count, -1.8)])
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.column_stack([np.concatenate([inside, outside]), np.full(2 * count, 7.0)])
    rows.astype(np.float32).tofile(path)


def write_folder(root, recordings=("a", "b"), frames=4):
    rows = [HEADER]
    poses = ["file,stamp,x,y,z,qw,qx,qy,qz"]
    for number, recording in enumerate(recordings):
        for i in range(frames):
            name = f"{recording}/{i:03d}"
            cloud(root / f"clouds/{name}.bin", seed=i)
            # The ego drives 1 m a frame along y; the object stands 5 m, 2 m from it: it drives too.
            poses.append(f"{name}.bin,{100 * number + i * 0.5},0,{i},0,1,0,0,0")
            if i % 2 == 0:
                rows.append(f"{name},shuttle,5,2,-0.8,4,2,1.6,0.3,,,car_1")
                rows.append(f"{name},dog,-9,0,-1.5,0.8,0.4,0.6,0,1,2,")
    (root / "labels.csv").write_text("\n".join(rows))
    (root / "poses.csv").write_text("\n".join(poses))
    return root


def prepare(root, axes=None, **kwargs):
    options = {".bin": ReadOptions(columns=4), ".npy": ReadOptions(columns=4)}
    axes = axes or InputFrame()
    return prepare_frames(folder_frames(root), root, out=root, axes=axes, options=options, **kwargs)


def infos(root, split="train"):
    return load(root / f"nuscenes_infos_{split}.pkl")["data_list"]


def test_infos_boxes_counts_and_velocities(tmp_path):
    made = prepare(write_folder(tmp_path))
    assert made.classes == ("dog", "shuttle")
    frames = infos(tmp_path)
    recording = frames[0]["token"][0]
    assert [info["token"] for info in frames] == [f"{recording}__000", f"{recording}__002"]
    shuttle, dog = frames[1]["instances"]
    assert shuttle["bbox_3d"] == pytest.approx([5, 2, -0.8, 4, 2, 1.6, 0.3])
    assert (shuttle["bbox_label_3d"], dog["bbox_label_3d"]) == (1, 0)
    # Rotated by 0.3 rad against its points, the box holds most of the 40.
    assert 20 < shuttle["num_lidar_pts"] <= 40
    assert (dog["num_lidar_pts"], dog["bbox_3d_isvalid"]) == (0, False)
    # Two frames and a second apart, two metres farther along y; the dog's is given.
    assert shuttle["velocity"] == pytest.approx([0.0, 2.0])
    assert dog["velocity"] == pytest.approx([1.0, 2.0])
    database = load(tmp_path / "nuscenes_dbinfos_train.pkl")
    assert {name: len(found) for name, found in database.items()} == {"shuttle": 2}
    assert all((tmp_path / entry["path"]).is_file() for entry in database["shuttle"])


def test_unlabelled_frames_are_the_sweeps(tmp_path):
    prepare(write_folder(tmp_path))
    dataset = NuScenesSweepsDataset(
        str(tmp_path),
        "nuscenes_infos_train.pkl",
        data_prefix=PREFIX,
        metainfo=dict(classes=("shuttle", "dog")),
    )
    info = dataset.get_data_info(1)
    assert info["ann_info"]["gt_labels_3d"].tolist() == [0]
    points = LoadSweeps(num_sweeps=3).transform(info)["points"].numpy()
    assert sorted(set(points[:, 4].tolist())) == pytest.approx([0, 0.5, 1.0])
    # The sweep of one frame before lies 1 m back.
    past = points[points[:, 4] == 0.5]
    standing = past[past[:, 0] > 15][:, :2]
    own = np.fromfile(next((tmp_path / "sweeps/LIDAR_TOP").glob("*001.bin")), np.float32)
    own = own.reshape(-1, 5)
    np.testing.assert_allclose(standing, own[own[:, 0] > 15][:, :2] - [0, 1], atol=1e-5)
    # Without a past there are no sweeps listed, so that stock padding works.
    assert "lidar_sweeps" not in infos(tmp_path)[0]


def test_other_axes_become_the_model_s(tmp_path):
    """x forward: what is 5 m ahead and 2 m left lies at x = -2, y = 5 for the model."""
    plain, kitti = tmp_path / "plain", tmp_path / "kitti"
    prepare(write_folder(plain))
    prepare(write_folder(kitti), axes=InputFrame("kitti", sensor_height_m=0.0))
    before, after = infos(plain)[1]["instances"][0], infos(kitti)[1]["instances"][0]
    assert after["bbox_3d"] == pytest.approx([-2, 5, -0.8 - 1.84, 4, 2, 1.6, 0.3 + np.pi / 2])
    assert after["num_lidar_pts"] == before["num_lidar_pts"]
    assert after["velocity"] == pytest.approx([-2.0, 0.0])
    moved = np.array(infos(kitti)[1]["lidar_sweeps"][0]["lidar_points"]["lidar2sensor"])
    # The past sensor stood 1 m farther right of the input, which is behind for the model.
    np.testing.assert_allclose(moved[:3, 3], [-1, 0, 0], atol=1e-9)


@pytest.mark.parametrize("form", ["json for all", "csv a frame", "json a frame"])
def test_labels_in_every_form(tmp_path, form):
    write_folder(tmp_path)
    by_frame = {}
    for frame, labels in read_labels(tmp_path / "labels.csv").items():
        keys = ("x", "y", "z", "l", "w", "h", "yaw")
        by_frame[frame] = [
            {"name": la.name, **dict(zip(keys, la.box[:7].tolist(), strict=True))} for la in labels
        ]
    (tmp_path / "labels.csv").unlink()
    for frame, rows in by_frame.items():
        path = tmp_path / "labels" / frame
        path.parent.mkdir(parents=True, exist_ok=True)
        if form == "json a frame":
            path.with_suffix(".json").write_text(json.dumps(rows))
        elif form == "csv a frame":
            lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
            path.with_suffix(".csv").write_text("\n".join(lines))
    if form == "json for all":
        (tmp_path / "labels.json").write_text(json.dumps(by_frame))
    prepare(tmp_path)
    assert infos(tmp_path)[0]["instances"][0]["bbox_3d"] == pytest.approx(
        [5, 2, -0.8, 4, 2, 1.6, 0.3]
    )


def test_a_frame_without_objects_is_a_frame(tmp_path):
    write_folder(tmp_path)
    with (tmp_path / "labels.csv").open("a") as file:
        file.write("\na/001,,,,,,,,,,,")
    labels = {frame.name: frame.labels for frame in folder_frames(tmp_path)}
    assert labels["a/001"] == ()
    assert labels["a/003"] is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a/000,shuttle,5,2,,4,2,1,0,,,", "row 10: expected name,.*missing z"),
        ("a/000,shuttle,5,two,0,4,2,1,0,,,", "row 10: could not convert .*'two'"),
        ("a/777,shuttle,5,2,0,4,2,1,0,,,", r"expected frames that have a cloud.*got a/777 \(1 of"),
    ],
)
def test_bad_labels_are_named(tmp_path, row, message):
    write_folder(tmp_path)
    with (tmp_path / "labels.csv").open("a") as file:
        file.write(f"\n{row}")
    with pytest.raises(ValueError, match=message):
        folder_frames(tmp_path)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected \.bin.* files in .*clouds, found none"):
        folder_frames(tmp_path)
    cloud(tmp_path / "clouds/a.bin")
    with pytest.raises(FileNotFoundError, match="expected labels.csv, labels.json or a folder"):
        folder_frames(tmp_path)


def test_boxes_nobody_can_learn_are_dropped_and_named(tmp_path):
    write_folder(tmp_path)
    with (tmp_path / "labels.csv").open("a") as file:
        file.write("\na/000,dog,1,1,0,0.8,0,0.6,0,,,\nb/000,dog,nan,1,0,1,1,1,0,,,")
    notes = "\n".join(prepare(tmp_path).notes)
    assert "a/000, box 2 (dog): length 0.8, width 0, height 0.6 are not all positive" in notes
    assert "b/000, box 2 (dog): a number is not finite" in notes
    assert len(infos(tmp_path)[0]["instances"]) == 2


def test_yaws_that_look_like_degrees_are_named(tmp_path):
    write_folder(tmp_path)
    with (tmp_path / "labels.csv").open("a") as file:
        file.write("\na/000,dog,1,1,0,1,1,1,6.2,,,")
    assert "yaw" not in "\n".join(prepare(tmp_path).notes)
    with (tmp_path / "labels.csv").open("a") as file:
        file.write("\na/000,dog,1,1,0,1,1,1,-90,,,\nb/000,dog,1,1,0,1,1,1,45,,,")
    assert prepare(tmp_path).notes[0] == (
        "yaw of 2 boxes beyond 2 pi, first -90 in a/000, box 3 (dog): are they degrees? "
        "Radians are expected"
    )


def frame(name, recording):
    return Frame(name, None, recording, ())


def test_whole_recordings_are_drawn_by_the_seed():
    frames = [frame(f"{r}/{i}", r) for r in "abcdefghij" for i in range(3)]
    split = split_frames(frames, None, 0.2, seed=0)
    drawn = {f.recording for f in split["val"]}
    assert len(drawn) == 2
    assert len(split["val"]) == 6
    assert not drawn & {f.recording for f in split["train"]}
    assert split_frames(frames, None, 0.2, seed=0) == split
    assert any(split_frames(frames, None, 0.2, seed=s) != split for s in range(1, 4))


def test_a_single_recording_ends_in_its_validation():
    frames = [frame(f"{i:02d}", "all") for i in range(10)]
    split = split_frames(frames, None, 0.2)
    assert [f.name for f in split["val"]] == ["08", "09"]
    assert len(split["train"]) == 8


def test_split_files(tmp_path):
    frames = [frame(f"{r}/{i}", r) for r in "abc" for i in range(2)]
    (tmp_path / "split.json").write_text('{"train": ["a", "b/0"], "val": ["c/1"]}')
    split = split_frames(frames, read_split(tmp_path, None))
    assert [f.name for f in split["train"]] == ["a/0", "a/1", "b/0"]
    assert [f.name for f in split["val"]] == ["c/1"]
    for named, message in (
        ({"train": ["a"], "val": ["zebra"]}, "unknown .'zebra'"),
        ({"train": ["a"], "val": ["a/1"]}, "a/1 in both"),
        ({"train": [], "val": ["a"]}, "annotated frames in train, got none"),
    ):
        with pytest.raises(ValueError, match=message):
            split_frames(frames, named)


def test_equal_stamps_are_refused():
    pose = np.eye(4)
    twice = [Frame(n, None, "a", (), 1.0, pose) for n in ("x", "y")]
    with pytest.raises(ValueError, match=r"different stamps, got 1\.0 s at y"):
        past_frames(twice, 10)
