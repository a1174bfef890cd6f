"""nuScenes in: infos, ground-truth database, sweeps, sampling, data sets and the metric.

| module | what | needs |
|---|---|---|
| point_files | float32 point files, checked | numpy |
| sweeps | key frame + past sweeps -> one cloud | numpy |
| loading | the pipeline step around it | mmdet3d |
| boxes | points in boxes, overlap of boxes in BEV | numpy |
| nuscenes_tables | opens a nuScenes directory, checks it before long work | nuscenes-devkit |
| infos | tables -> mmdet3d 1.4 infos | nuscenes-devkit |
| gt_database | infos -> object points for sampling | numpy |
| prepare | both, with checks and progress | nuscenes-devkit, rich |
| frames, folder, kitti | clouds and labels of one's own | numpy |
| prepare_frames | the same infos and database of them | rich |
| gt_sampling | pastes objects of the database; hook that fades it out | mmdet3d |
| datasets | data set on the infos, class-balanced sampling of frames | mmdet3d |
| metric | official nuScenes evaluation, and any class list | mmdet3d, nuscenes-devkit |
| class_list | the devkit's scores of any class list | nuscenes-devkit |
"""
